/**
 * A bare QEMU with the agent in it, driven straight through `runtime/agent-client`: what is tested is the guest alone,
 * without shim, jail and keeper. Disks sit at fixed PCI addresses on the root bus.
 */
import { type ChildProcess, type IOType, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Duplex } from 'node:stream';
import { buildNative } from '../../agent/build.ts';
import type { Clock } from '../../agent/protocol/channel.ts';
import { findGuestKernel } from '../../guest-kernel/build.ts';
import { buildInitrd } from '../../guest-kernel/initrd.ts';
import {
  type AgentConnection,
  type ConnectOptions,
  connectAgent,
} from '../../runtime/agent-client/agent-connection.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { socketChannel } from '../../runtime/host/socket-channel.ts';
import { idleAddress, SteppedGuest } from './stepped-guest.ts';

const ROOT = join(import.meta.dirname, '../..');
const BOOT_TIMEOUT_MS = 60_000;
const END_TIMEOUT_MS = 20_000;
const FIRST_DISK_SLOT = 5;
/** What the agent says on the console when it is. */
const READY = 'tskata-agent: ready';

/** A disk of the machine. */
interface AgentDisk {
  readonly path: string;
  readonly readOnly: boolean;
}

export interface AgentVmOptions {
  readonly disks?: readonly AgentDisk[];
  readonly memoryMib?: number;
  readonly cpus?: number;
  /**
   * Every instruction takes one nanosecond of the guest's time, and nothing of the host's clock or chance enters before
   * the agent is ready: the host says its first word after that.
   */
  readonly icount?: boolean;
  /** With `icount`: also what the host says up to the agent's first answer arrives at an instruction that is always the same. */
  readonly stepped?: boolean;
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

interface GuestImages {
  readonly kernel: string;
  readonly systemMap: string;
  readonly initrd: string;
}

let images: Promise<GuestImages> | undefined;

/** Kernel and initrd, made once per process; the initrd of an agent is kept by its hash. */
function guestImages(): Promise<GuestImages> {
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
    return { kernel: kernel.vmlinux, systemMap: join(dirname(kernel.vmlinux), 'System.map'), initrd };
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
  args.push('-kernel', kernel, '-initrd', initrd, '-append', line);
  // With ioeventfd, QEMU's main loop serves the queues when the host gives it time; without, the guest's own thread does.
  args.push('-device', `virtio-serial-pci,max_ports=4${options.icount ? ',ioeventfd=off' : ''}`);
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
  if (options.stepped) args.push('-S', '-chardev', 'socket,id=gdb,fd=6', '-gdb', 'chardev:gdb');
  return [...args, ...(options.qemu ?? [])];
}

/** Boots a stepped guest to its agent's readiness, and on to the first answer. */
async function connectStepped(
  guest: SteppedGuest,
  isReady: () => boolean,
  connect: () => Promise<AgentConnection>,
): Promise<AgentConnection> {
  while (!isReady()) await guest.toIdle();
  let over = false;
  const connecting = connect().finally(() => {
    over = true;
  });
  connecting.catch(() => {});
  while (!over) await guest.toIdle();
  await guest.release();
  return await connecting;
}

function pipeOf(child: ChildProcess, fd: number): Duplex {
  const stream = child.stdio[fd];
  if (stream === null || stream === undefined) throw new Error(`descriptor ${fd} of QEMU is not a pipe`);
  return stream as Duplex;
}

/** Boots a guest and connects to its agent. On failure nothing is left, and the error carries the console. */
export async function startAgentVm(options: AgentVmOptions = {}): Promise<AgentVm> {
  const { kernel, systemMap, initrd } = await guestImages();
  const args = qemuArguments(kernel, initrd, await tscKhz(), options);
  const stdio: IOType[] = [
    'ignore',
    'ignore',
    'pipe',
    'pipe',
    'pipe',
    'pipe',
    ...(options.stepped ? (['pipe'] as const) : []),
  ];
  const child = spawn('qemu-system-x86_64', args, { stdio });
  let output = '';
  let isReady = (): void => {};
  const ready = new Promise<void>((resolve) => {
    isReady = resolve;
  });
  const keep = (bytes: Uint8Array): void => {
    output = (output + Buffer.from(bytes).toString()).slice(-65_536);
    if (output.includes(READY)) isReady();
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
  const sockets = [3, 4].map((fd) => socketChannel(pipeOf(child, fd)));
  const guest = options.stepped
    ? new SteppedGuest(pipeOf(child, 6), idleAddress(await readFile(systemMap, 'utf8')))
    : undefined;
  const [control, bytes] = guest === undefined ? sockets : sockets.map((channel) => guest.hold(channel));
  if (control === undefined || bytes === undefined) throw new Error('unreachable');
  try {
    const died = ended.then((code) => Promise.reject(new Error(`QEMU ended with ${code}`)));
    died.catch(() => {});
    const connect = (clock: Clock, more: ConnectOptions = {}) =>
      connectAgent(control, bytes, clock, { fresh: true, timeoutMs: BOOT_TIMEOUT_MS, ...more });
    const connecting = async (): Promise<AgentConnection> => {
      if (guest !== undefined) {
        // The same bytes each time: what is a number in them costs by its size.
        const random = (count: number): Uint8Array => new Uint8Array(count).fill(7);
        const still: Clock = { ...nodeClock, now: () => 0 };
        return await connectStepped(
          guest,
          () => output.includes(READY),
          () => connect(still, { random }),
        );
      }
      if (options.icount) await ready;
      return await connect(nodeClock);
    };
    const connection = await Promise.race([connecting(), died]);
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
