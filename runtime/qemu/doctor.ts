/**
 * Examines this host: every step of the accelerator decision, every program and file that is needed, room on the disks.
 * A problem is what keeps containers from running; a note is what only makes them slower or fewer. It changes nothing.
 */
import { access, constants, mkdir, readFile, statfs } from 'node:fs/promises';
import { freemem, release } from 'node:os';
import path from 'node:path';
import { TskataError } from '../../agent/protocol/errors.ts';
import { run } from '../host/process.ts';
import { chooseAccelerator, type DecisionStep, explainAccelerator } from './accelerator.ts';
import type { AcceleratorChoice } from './host-facts.ts';
import { examineKvm } from './probe.ts';
import { findQemu, findVirtiofsd } from './programs.ts';
import { isVhostUsable, VHOST_NET } from './vhost.ts';

/** One finding. */
export interface Check {
  readonly name: string;
  readonly state: 'ok' | 'note' | 'problem';
  readonly fact: string;
  readonly cure?: string;
}

/** Where things lie. */
export interface DoctorOptions {
  readonly runRoot: string;
  readonly libRoot: string;
  /** Directory of the installed programs and guest files. */
  readonly programs: string;
  /** What the configuration says of machines and their users. */
  readonly config: {
    /** "kvm" or "tcg": asked for, not chosen. */
    readonly accelerator?: string;
    /** Files instead of the installed ones. */
    readonly kernel?: string | undefined;
    readonly initrd?: string | undefined;
    readonly users: { readonly first: number; readonly count: number };
  };
}

/** The result. */
export interface Examination {
  /** Absent without QEMU. */
  readonly accelerator: AcceleratorChoice | undefined;
  readonly checks: readonly Check[];
}

const GIB = 1024 ** 3;
/** Layers and scratch disks of a few images. */
const MIN_LIB_FREE_GIB = 2;
/** A guest of the default size, its page tables and QEMU. */
const MIN_FREE_MEMORY_MIB = 512;
const VERSION_TIMEOUT_MS = 10_000;

/** Programs beside QEMU: how each says its version, and what it is for. */
const TOOLS = [
  { name: 'skopeo', args: ['--version'], package: 'skopeo', use: 'pulling images' },
  { name: 'qemu-img', args: ['--version'], package: 'qemu-utils', use: 'the writable disk' },
  { name: 'mkfs.ext4', args: ['-V'], package: 'e2fsprogs', use: 'the writable disk' },
] as const;

/** Examines everything. Never rejects for what is missing. */
export async function examineHost(options: DoctorOptions): Promise<Examination> {
  await mkdir(path.join(options.runRoot, 'cache'), { recursive: true, mode: 0o700 }).catch(() => {
    // Its own check says so.
  });
  const machine = await machineChecks(options);
  const others = await Promise.all([
    virtiofsdCheck(options),
    ...TOOLS.map(toolCheck),
    ...guestFiles(options).map(fileCheck),
    vhostCheck('vhost-net', VHOST_NET, 'networking through the kernel for tap devices', 'vhost_net'),
    vhostCheck('vhost-vsock', '/dev/vhost-vsock', 'the agent connection over vsock', 'vhost_vsock'),
    cgroupCheck(),
    spaceCheck('room for images', options.libRoot),
    writableCheck('images and logs', options.libRoot, '--root'),
    writableCheck('run state', options.runRoot, '--run-root'),
    memoryCheck(),
    rootCheck(),
    usersCheck(options.config.users),
  ]);
  return { accelerator: machine.accelerator, checks: [...machine.checks, ...others] };
}

async function machineChecks(options: DoctorOptions): Promise<{ accelerator?: AcceleratorChoice; checks: Check[] }> {
  const host: Check = { name: 'host kernel', state: 'ok', fact: release() };
  try {
    const qemu = await findQemu(path.join(options.runRoot, 'cache'));
    const found: Check = { name: 'QEMU', state: 'ok', fact: `${qemu.version}, ${qemu.executable}` };
    const { accelerator: override } = options.config;
    const asked = override === undefined ? {} : { override };
    const kvm = await examineKvm({ runRoot: options.runRoot, ...asked }, qemu.executable);
    return { accelerator: chooseAccelerator(kvm), checks: [host, found, ...explainAccelerator(kvm).map(fromStep)] };
  } catch (error) {
    return { checks: [host, problem('QEMU', TskataError.from(error).message, 'apt install qemu-system-x86')] };
  }
}

/** Containers run without KVM as well, so no step of its decision is a problem. */
function fromStep(step: DecisionStep): Check {
  const { name, fact, cure } = step;
  return { name, state: step.good ? 'ok' : 'note', fact, ...(cure === undefined ? {} : { cure }) };
}

async function virtiofsdCheck(options: DoctorOptions): Promise<Check> {
  const found = await findVirtiofsd(path.join(options.runRoot, 'cache')).catch(() => undefined);
  if (found === undefined) {
    return problem('virtiofsd', 'not found; needed for volumes', 'apt install qemu-system-common, or virtiofsd');
  }
  return { name: 'virtiofsd', state: 'ok', fact: `${found.executable} (${found.kind === 'c' ? 'C' : 'Rust'})` };
}

async function toolCheck(tool: (typeof TOOLS)[number]): Promise<Check> {
  try {
    const { stdout, stderr } = await run(tool.name, tool.args, { timeoutMs: VERSION_TIMEOUT_MS });
    const line = `${stdout}\n${stderr}`.trim().split('\n')[0] ?? '';
    return { name: tool.name, state: 'ok', fact: line.slice(0, 60) };
  } catch (error) {
    // Some programs print their version and exit with 1; only a program that does not start is missing.
    const { message } = TskataError.from(error);
    const version = /version [0-9][^\s,]*/.exec(message)?.[0];
    if (version !== undefined) return { name: tool.name, state: 'ok', fact: version };
    return problem(tool.name, `not found; needed for ${tool.use}`, `apt install ${tool.package}`);
  }
}

function guestFiles({ programs, config }: DoctorOptions): { name: string; file: string }[] {
  return [
    { name: 'guest kernel', file: config.kernel ?? path.join(programs, 'guest/vmlinux') },
    { name: 'guest initrd', file: config.initrd ?? path.join(programs, 'guest/initrd.img') },
    { name: 'native helper', file: path.join(programs, 'tskata-helper') },
    { name: 'user network', file: path.join(programs, 'tskata-usernet') },
    { name: 'machine profiles', file: path.join(programs, 'qemu-configs/q35-tcg.json') },
  ];
}

async function fileCheck({ name, file }: { name: string; file: string }): Promise<Check> {
  const there = await access(file, constants.R_OK).then(
    () => true,
    () => false,
  );
  if (there) return { name, state: 'ok', fact: file };
  return problem(name, `${file} is missing`, 'build and install tskata again (npm run build)');
}

async function vhostCheck(name: string, device: string, use: string, module: string): Promise<Check> {
  if (await isVhostUsable(device)) return { name, state: 'ok', fact: device };
  return { name, state: 'note', fact: `${device} does not open; an option for ${use}`, cure: `modprobe ${module}` };
}

async function cgroupCheck(): Promise<Check> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '');
  const fsTypes = new Set(mounts.split('\n').map((line) => / - (\S+) /.exec(line)?.[1]));
  const v1 = fsTypes.has('cgroup');
  if (fsTypes.has('cgroup2')) {
    const fact = v1 ? 'version 2 beside version 1 (hybrid)' : 'version 2';
    return { name: 'cgroups', state: 'ok', fact };
  }
  const fact = v1 ? 'version 1 only' : 'not mounted';
  return { name: 'cgroups', state: 'note', fact, cure: 'boot with systemd.unified_cgroup_hierarchy=1' };
}

async function spaceCheck(name: string, directory: string): Promise<Check> {
  const found = await statfs(directory).catch(() => statfs('/'));
  const freeGib = (found.bavail * found.bsize) / GIB;
  const fact = `${freeGib.toFixed(1)} GiB free for ${directory}`;
  if (freeGib >= MIN_LIB_FREE_GIB) return { name, state: 'ok', fact };
  return problem(name, fact, 'free some space, or name another place with --root');
}

/** What is not there yet is made where its nearest directory allows it. */
async function writableCheck(name: string, directory: string, flag: string): Promise<Check> {
  for (let place = directory; ; place = path.dirname(place)) {
    try {
      await access(place, constants.W_OK | constants.X_OK);
      return {
        name,
        state: 'ok',
        fact: place === directory ? `${directory} can be written` : `${directory} can be made`,
      };
    } catch (error) {
      const { code = 'it cannot be used' } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' && place !== '/') continue;
      return problem(name, `${directory}: ${code}`, `name a directory that can be written with ${flag}`);
    }
  }
}

async function memoryCheck(): Promise<Check> {
  const meminfo = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const kib = Number(/^MemAvailable:\s+(\d+)/m.exec(meminfo)?.[1] ?? freemem() / 1024);
  const mib = Math.floor(kib / 1024);
  const fact = `${mib} MiB available`;
  if (mib >= MIN_FREE_MEMORY_MIB) return { name: 'memory', state: 'ok', fact };
  return { name: 'memory', state: 'note', fact, cure: 'a sandbox of the default size may not fit' };
}

function rootCheck(): Promise<Check> {
  const uid = process.getuid?.();
  if (uid === 0) return Promise.resolve({ name: 'user', state: 'ok', fact: 'root' });
  return Promise.resolve(problem('user', `uid ${uid}`, 'run as root: namespaces, mounts and users need it'));
}

/** Sandboxes take users from a range that nobody else may have. */
async function usersCheck(users: DoctorOptions['config']['users']): Promise<Check> {
  const name = 'users of sandboxes';
  const range = `${users.first} to ${users.first + users.count - 1}`;
  const overlaps = (first: number, count: number): boolean =>
    first < users.first + users.count && first + count > users.first;
  const [passwd, subuid] = await Promise.all(
    ['/etc/passwd', '/etc/subuid'].map((file) => readFile(file, 'utf8').catch(() => '')),
  );
  const single = (passwd ?? '').split('\n').map((line) => line.split(':'));
  const ranges = (subuid ?? '').split('\n').map((line) => line.split(':'));
  const taken = [
    ...single.filter((fields) => overlaps(Number(fields[2]), 1)).map(([user]) => `user ${user}`),
    ...ranges
      .filter((fields) => overlaps(Number(fields[1]), Number(fields[2])))
      .map(([user]) => `/etc/subuid of ${user}`),
  ];
  if (taken.length === 0) return { name, state: 'ok', fact: range };
  const fact = `${range} overlap with ${taken.slice(0, 3).join(', ')}`;
  return { name, state: 'note', fact, cure: 'move the other users: the same number would be the same user' };
}

function problem(name: string, fact: string, cure: string): Check {
  return { name, state: 'problem', fact, cure };
}
