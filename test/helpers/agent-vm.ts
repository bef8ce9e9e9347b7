/**
 * A bare QEMU with the agent in it, driven straight through `runtime/agent-client`: what is tested is the guest alone,
 * without shim, jail and keeper. Disks sit at fixed PCI addresses on the root bus.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { buildNative } from '../../agent/build.ts';
import type { ContainerSpec, CreateContainerRequest, Process, Storage } from '../../agent/protocol/generated/agent.ts';
import type { Init } from '../../agent/protocol/message.ts';
import { findGuestKernel } from '../../guest-kernel/build.ts';
import { buildInitrd } from '../../guest-kernel/initrd.ts';
import { type AgentConnection, connectAgent } from '../../runtime/agent-client/agent-connection.ts';
import type { ByteStream } from '../../runtime/agent-client/byte-stream.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { socketChannel } from '../../runtime/host/socket-channel.ts';

const ROOT = join(import.meta.dirname, '../..');
const BOOT_TIMEOUT_MS = 60_000;
const END_TIMEOUT_MS = 20_000;
const FIRST_DISK_SLOT = 5;

/** A disk of the machine. */
interface AgentDisk {
  readonly path: string;
  readonly readOnly: boolean;
}

export interface AgentVmOptions {
  readonly disks?: readonly AgentDisk[];
  readonly memoryMib?: number;
  readonly cpus?: number;
  /** Every instruction takes one nanosecond of the guest's time; nothing of the host's clock or chance enters. */
  readonly icount?: boolean;
  /** More of QEMU's arguments: shares, network cards. */
  readonly qemu?: readonly string[];
}

/** A guest with a connected agent. */
export interface AgentVm {
  readonly connection: AgentConnection;
  readonly call: AgentConnection['call'];
  readonly qemuPid: number;
  /** Settles when QEMU has ended. */
  readonly ended: Promise<number | null>;
  /** What the guest has said on its console. */
  console(): string;
  /** PCI path of the n-th disk. */
  diskPath(index: number): string;
  /** Connects once more on the same ports, as a shim does after a restore. The old connection is of no use then. */
  reconnect(): Promise<AgentConnection>;
  stop(): Promise<void>;
}

/** PCI path of the n-th disk of a machine of this helper. */
export function diskPath(index: number): string {
  return `${(FIRST_DISK_SLOT + index).toString(16).padStart(2, '0')}.0`;
}

let images: Promise<{ readonly kernel: string; readonly initrd: string }> | undefined;

/** Kernel and initrd, made once per process; the initrd of an agent is kept by its hash. */
function guestImages(): Promise<{ readonly kernel: string; readonly initrd: string }> {
  images ??= (async () => {
    const kernel = await findGuestKernel();
    if (kernel === undefined) throw new Error('find the guest kernel: it is not built: run `npm run build`');
    const directory = join(ROOT, 'build/test');
    await mkdir(directory, { recursive: true });
    const outFile = join(directory, `agent-${process.pid}`);
    await buildNative({ name: 'tskata-agent', entry: join(ROOT, 'agent/main.ts'), outFile });
    const hash = createHash('sha256')
      .update(await readFile(outFile))
      .digest('hex')
      .slice(0, 16);
    const agent = join(directory, 'tskata-agent');
    await rename(outFile, agent);
    const initrd = join(directory, `initrd-${hash}.img`);
    if (!(await stat(initrd).catch(() => undefined))) await buildInitrd({ agentBinary: agent, outFile: initrd });
    return { kernel: kernel.vmlinux, initrd };
  })();
  return images;
}

async function tscKhz(): Promise<number> {
  const mhz = /^cpu MHz\s*: ([0-9.]+)$/m.exec(await readFile('/proc/cpuinfo', 'utf8'))?.[1];
  return Math.round(Number(mhz ?? '2600') * 1000);
}

function qemuArguments(kernel: string, initrd: string, khz: number, options: AgentVmOptions): string[] {
  const line = `quiet console=hvc0 panic=-1 tsc_early_khz=${options.icount ? 1_000_000 : khz} lapic_timer_hz=1000000000 no_timer_check tsc=reliable noreplace-smp pci=lastbus=0 mitigations=off cryptomgr.notests${options.icount ? ' nokaslr norandmaps random.trust_cpu=on' : ''}`;
  const args = [
    '-nodefaults',
    '-no-user-config',
    '-display',
    'none',
    '-no-reboot',
    '-M',
    'q35',
    '-accel',
    options.icount ? 'tcg,thread=single' : 'tcg,thread=multi',
  ];
  if (options.icount) args.push('-icount', 'shift=0,sleep=off', '-seed', '1', '-rtc', 'base=2026-01-01,clock=vm');
  args.push(
    '-cpu',
    'max',
    '-smp',
    String(options.cpus ?? 1),
    '-m',
    String(options.memoryMib ?? 512),
    '-bios',
    'qboot.rom',
  );
  args.push('-kernel', kernel, '-initrd', initrd, '-append', line, '-device', 'virtio-serial-pci,max_ports=4');
  args.push('-chardev', 'socket,id=control,fd=3', '-chardev', 'socket,id=bytes,fd=4');
  args.push('-chardev', 'socket,id=console,fd=5', '-device', 'virtconsole,chardev=console,nr=0');
  args.push('-device', 'virtserialport,chardev=control,nr=1,name=org.tskata.control');
  args.push('-device', 'virtserialport,chardev=bytes,nr=2,name=org.tskata.bytes');
  // The host's random bytes come whenever the host has time for it, which would show in a count.
  if (!options.icount) args.push('-device', 'virtio-rng-pci');
  for (const [index, disk] of (options.disks ?? []).entries()) {
    const readOnly = disk.readOnly ? 'on' : 'off';
    args.push(
      '-drive',
      `file=${disk.path},format=raw,if=none,id=d${index},read-only=${readOnly},cache=unsafe,discard=unmap`,
    );
    args.push('-device', `virtio-blk-pci,drive=d${index},addr=${diskPath(index)}`);
  }
  return [...args, ...(options.qemu ?? [])];
}

function pipeOf(child: ChildProcess, fd: number): Duplex {
  const stream = child.stdio[fd];
  if (stream === null || stream === undefined) throw new Error(`descriptor ${fd} of QEMU is not a pipe`);
  return stream as Duplex;
}

/** Boots a guest and connects to its agent. On failure nothing is left, and the error carries the console. */
export async function startAgentVm(options: AgentVmOptions = {}): Promise<AgentVm> {
  const { kernel, initrd } = await guestImages();
  const args = qemuArguments(kernel, initrd, await tscKhz(), options);
  const child = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', 'pipe'] });
  let output = '';
  const keep = (bytes: Uint8Array): void => {
    output = (output + Buffer.from(bytes).toString()).slice(-65_536);
  };
  child.stderr?.on('data', keep);
  pipeOf(child, 5).on('data', keep);
  const ended = new Promise<number | null>((resolve) => {
    child.on('exit', resolve);
    child.on('error', () => resolve(null));
  });
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await ended;
  };
  const channels = [3, 4].map((fd) => socketChannel(pipeOf(child, fd)));
  const [control, bytes] = channels;
  if (control === undefined || bytes === undefined) throw new Error('unreachable');
  try {
    const connecting = connectAgent(control, bytes, nodeClock, { fresh: true, timeoutMs: BOOT_TIMEOUT_MS });
    const died = ended.then((code) => Promise.reject(new Error(`QEMU ended with ${code}`)));
    died.catch(() => {});
    const connection = await Promise.race([connecting, died]);
    const reconnect = () => connectAgent(control, bytes, nodeClock, { timeoutMs: BOOT_TIMEOUT_MS });
    return {
      reconnect,
      connection,
      call: connection.call,
      qemuPid: child.pid ?? -1,
      ended,
      console: () => output,
      diskPath,
      stop,
    };
  } catch (error) {
    await stop();
    throw new Error(`boot a guest: ${(error as Error).message}\nconsole:\n${output}`, { cause: error });
  }
}

/** Switches the guest off by its agent, and waits for the end of QEMU. */
export async function powerOff(vm: AgentVm): Promise<void> {
  await vm.call.destroySandbox({ powerOff: true }, { timeoutMs: END_TIMEOUT_MS });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the guest did not power off:\n${vm.console()}`)), END_TIMEOUT_MS);
  });
  try {
    await Promise.race([vm.ended, late]);
  } finally {
    clearTimeout(timer);
    await vm.stop();
  }
}

/** Runs a program of the host to its end; rejects with its words. */
export function run(
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    let out = '';
    let err = '';
    child.stdout.on('data', (bytes) => {
      out += bytes;
    });
    child.stderr.on('data', (bytes) => {
      err += bytes;
    });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(out) : reject(new Error(`${file}: exit ${code}: ${err}`))));
  });
}

/** Disk images for tests: a busybox root as squashfs, and empty ext4 disks. */
export interface TestDisks {
  readonly directory: string;
  readonly busybox: string;
  scratch(name: string, sizeMib?: number): Promise<string>;
  /** A squashfs of a script that fills a directory. */
  squash(name: string, script: string): Promise<string>;
  remove(): Promise<void>;
}

const BUSYBOX_ROOT = `
mkdir -p bin etc tmp root home/app proc sys dev
cp /bin/busybox bin/busybox
for applet in $(bin/busybox --list); do [ -e bin/$applet ] || ln -s busybox bin/$applet; done
printf 'root:x:0:0:root:/root:/bin/sh\\napp:x:1000:1000:app:/home/app:/bin/sh\\n' > etc/passwd
printf 'root:x:0:\\napp:x:1000:\\nstaff:x:50:app\\naudio:x:29:app,root\\n' > etc/group
chmod 1777 tmp; chown 1000:1000 home/app
printf 'not executable' > etc/plain; chmod 644 etc/plain
mkdir suid; cp bin/busybox suid/ping; chmod 4755 suid/ping
`;

/** `more` is a script that adds to the busybox root, with its environment. */
export async function makeTestDisks(more = '', env: Readonly<Record<string, string>> = {}): Promise<TestDisks> {
  const directory = await mkdtemp(join(tmpdir(), 'tskata-agent-vm-'));
  const squash = async (name: string, script: string): Promise<string> => {
    const tree = join(directory, `${name}.tree`);
    await mkdir(tree);
    await run('sh', ['-ec', `cd ${tree}\n${script}`], env);
    const image = join(directory, `${name}.squashfs`);
    await run('mksquashfs', [tree, image, '-noappend', '-quiet', '-no-progress', '-comp', 'zstd']);
    await rm(tree, { recursive: true });
    return image;
  };
  return {
    directory,
    busybox: await squash('busybox', `${BUSYBOX_ROOT}\n${more}`),
    squash,
    async scratch(name, sizeMib = 256) {
      const path = join(directory, `${name}.ext4`);
      await run('truncate', ['-s', `${sizeMib}M`, path]);
      await run('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', '-E', 'lazy_itable_init=1', path]);
      return path;
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

/** Storages of a root made of the disks 0 (layer) and 1 (scratch), with ids that begin with `prefix`. */
export function rootStorages(prefix: string, layer = 0, scratch = 1): Init<Storage>[] {
  return [
    { id: `${prefix}-layer`, block: { pciPath: diskPath(layer), fsType: 'squashfs', readOnly: true } },
    { id: `${prefix}-scratch`, block: { pciPath: diskPath(scratch), fsType: 'ext4', readOnly: false } },
    { id: `${prefix}-root`, overlay: { lowerIds: [`${prefix}-layer`], upperId: `${prefix}-scratch` } },
  ];
}

/** Capabilities that a container engine gives by default. */
const DEFAULT_CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
];

/** A process with an engine's defaults. */
export function testProcess(args: readonly string[], change: Init<Process> = {}): Init<Process> {
  return {
    args,
    env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    cwd: '/',
    capabilities: {
      bounding: DEFAULT_CAPABILITIES,
      effective: DEFAULT_CAPABILITIES,
      permitted: DEFAULT_CAPABILITIES,
    },
    ...change,
  };
}

/** A container with an engine's defaults: mounts, namespaces, masked paths. */
export function testSpec(args: readonly string[], change: Init<ContainerSpec> = {}): Init<ContainerSpec> {
  return {
    process: testProcess(args),
    hostname: 'test',
    namespaces: ['mount', 'pid', 'ipc', 'uts', 'cgroup'],
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
      },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
      },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      {
        destination: '/sys/fs/cgroup',
        type: 'cgroup',
        source: 'cgroup',
        options: ['nosuid', 'noexec', 'nodev', 'relatime', 'ro'],
      },
      { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
      {
        destination: '/dev/shm',
        type: 'tmpfs',
        source: 'shm',
        options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k'],
      },
    ],
    maskedPaths: ['/proc/acpi', '/proc/kcore', '/proc/keys', '/proc/timer_list', '/proc/scsi', '/sys/firmware'],
    readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
    ...change,
  };
}

/** Collects a stream to its end. */
export async function collect(stream: ByteStream): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(Uint8Array.from(part));
  return Buffer.concat(parts).toString();
}

/** How a program of a test ended. */
export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Creates, starts and waits for a container; deletes it. */
export async function runContainer(
  vm: AgentVm,
  request: Init<CreateContainerRequest>,
  stdin?: string,
): Promise<Outcome> {
  const containerId = request.containerId ?? `c-${randomBytes(4).toString('hex')}`;
  const streams = openStreams(vm, stdin !== undefined);
  await vm.call.createContainer({ ...request, containerId, streams: streams.ids }, { timeoutMs: 60_000 });
  try {
    return await finish(vm, containerId, '', streams, stdin, () => vm.call.startContainer({ containerId }));
  } finally {
    await vm.call.signalProcess({ containerId, signal: 9, all: true }).catch(() => {});
    await vm.call.waitProcess({ containerId }, { timeoutMs: 10_000 });
    await vm.call.deleteContainer({ containerId });
  }
}

/** Runs one more program in a container. */
export async function runExec(
  vm: AgentVm,
  containerId: string,
  process: Init<Process>,
  stdin?: string,
): Promise<Outcome> {
  const execId = `e-${randomBytes(4).toString('hex')}`;
  const streams = openStreams(vm, stdin !== undefined);
  const outcome = await finish(vm, containerId, execId, streams, stdin, () =>
    vm.call.execProcess({ containerId, execId, process, streams: streams.ids }),
  );
  await vm.call.deleteProcess({ containerId, execId });
  return outcome;
}

interface OpenStreams {
  readonly ids: { readonly stdin: number; readonly stdout: number; readonly stderr: number };
  readonly stdin: ByteStream | undefined;
  readonly stdout: ByteStream;
  readonly stderr: ByteStream;
}

function openStreams(vm: AgentVm, withInput: boolean): OpenStreams {
  const stdin = withInput ? vm.connection.openStream('to-guest') : undefined;
  const stdout = vm.connection.openStream('from-guest');
  const stderr = vm.connection.openStream('from-guest');
  return { ids: { stdin: stdin?.id ?? 0, stdout: stdout.id, stderr: stderr.id }, stdin, stdout, stderr };
}

async function finish(
  vm: AgentVm,
  containerId: string,
  execId: string,
  streams: OpenStreams,
  input: string | undefined,
  start: () => Promise<unknown>,
): Promise<Outcome> {
  await start();
  const output = Promise.all([collect(streams.stdout), collect(streams.stderr)]);
  if (streams.stdin !== undefined) {
    await streams.stdin.write(Buffer.from(input ?? ''));
    streams.stdin.end();
  }
  const { exitStatus } = await vm.call.waitProcess({ containerId, execId }, { timeoutMs: 60_000 });
  const [stdout, stderr] = await output;
  return { status: exitStatus, stdout, stderr };
}

/** Writes a file of the test's directory. */
export async function writeTestFile(disks: TestDisks, name: string, content: string): Promise<string> {
  const path = join(disks.directory, name);
  await writeFile(path, content);
  return path;
}
