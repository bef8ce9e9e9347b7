/**
 * Owns: the processes of the KVM host: virtiofsd, which shares this machine's root without the right to change it, and
 * QEMU, whose TCG emulates AMD's SVM. Both die with this process, whatever ends it. Refuses to know what runs inside.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { hostTscKhz } from '../../runtime/qemu/kernel-params.ts';
import { buildHostInitrd, type Job } from './initrd.ts';
import { cacheDirectory, findHostKernel } from './kernel.ts';

const VIRTIOFSD = '/usr/lib/qemu/virtiofsd';
const VIRTIOFSD_START_MS = 10_000;
const MEMORY_MIB = 6144;
/** QEMU takes all of a CPU for minutes; others on the machine come first. */
const NICENESS = 5;
/** Descriptors that virtiofsd may hold: one per file that the guest knows. */
const MAX_SHARED_FILES = 500_000;
const CONSOLE_KEPT_BYTES = 256 * 1024;

/** What a run of the host needs. */
export interface HostMachineOptions {
  readonly job: Job;
  /** Kernel modules to load after the start. */
  readonly load: readonly string[];
  /** Changes of files on this machine are seen at once, which costs time: for developing. */
  readonly fresh: boolean;
  /** Own directory for sockets and the initrd. */
  readonly directory: string;
}

/** A host that is starting or running. */
export interface HostMachine {
  /** Terminal hvc0: what the job prints, and where a shell reads. */
  readonly terminal: Duplex;
  /** The port "report". */
  readonly report: Duplex;
  /** The port "results": a tar archive at the end. */
  readonly results: Duplex;
  /** Settles when QEMU has ended, with its words on standard error. */
  readonly ended: Promise<string>;
  /** Last part of what the kernel has said. */
  console(): string;
  /** Kills what runs and waits for its end. */
  stop(): Promise<void>;
}

/** Starts the host. It does not wait for the guest. */
export async function startHostMachine(options: HostMachineOptions): Promise<HostMachine> {
  const kernel = await findHostKernel();
  const initrd = join(options.directory, 'initrd');
  const job = {
    ...options.job,
    modules: kernel.modules,
    load: `${options.load.join('\n')}\n`,
    cache: cacheDirectory(),
    keep: `${options.job.checkout}\n${cacheDirectory()}\n`,
  };
  await buildHostInitrd(kernel, job, initrd);
  const socket = join(options.directory, 'root.sock');
  const daemon = startVirtiofsd(options.directory, socket, options.fresh);
  try {
    await daemon.ready;
    return watch(startQemu(kernel.image, initrd, socket, await clockParameter()), daemon.child);
  } catch (error) {
    await end(daemon.child);
    throw error;
  }
}

/** With a private root that is read-only but for the directory of the socket, so that even a broken guest changes nothing. */
function startVirtiofsd(
  directory: string,
  socket: string,
  fresh: boolean,
): { child: ChildProcess; ready: Promise<void> } {
  const script = [
    'mount --make-rprivate /',
    'mount --bind "$0" "$0"',
    // It keeps a lock file there.
    'mount -t tmpfs tmpfs /run',
    'mount -o remount,bind,ro /',
    'exec "$@"',
  ].join(' && ');
  const cache = fresh ? 'auto' : 'always';
  const options = `source=/,cache=${cache},xattr,sandbox=chroot,no_posix_lock,no_flock`;
  const program = [VIRTIOFSD, `--socket-path=${socket}`, `--rlimit-nofile=${MAX_SHARED_FILES}`, '--thread-pool-size=2'];
  const args = ['--pdeathsig', 'KILL', 'unshare', '-m', 'sh', '-c', script, directory, ...program, '-o', options];
  const child = spawn('setpriv', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let words = '';
  const ready = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`virtiofsd was not ready in time: ${words}`)), VIRTIOFSD_START_MS);
    child.stderr?.on('data', (bytes: Buffer) => {
      words = (words + bytes.toString()).slice(-4096);
      if (!words.includes('Waiting for vhost-user socket connection')) return;
      clearTimeout(timer);
      resolve();
    });
    child.once('close', () => {
      clearTimeout(timer);
      reject(new Error(`virtiofsd ended: ${words}`));
    });
  });
  ready.catch(() => undefined);
  return { child, ready };
}

function startQemu(image: string, initrd: string, socket: string, clock: string): ChildProcess {
  // init_on_alloc: what virtiofsd writes into memory is unseen by QEMU, which would run old translations of the same pages.
  const fixed =
    'console=ttyS0 panic=-1 quiet loglevel=4 no_timer_check mitigations=off init_on_alloc=1 cryptomgr.notests';
  const line = `${fixed} ${clock}`;
  const args = [
    ...['--pdeathsig', 'KILL', 'nice', '-n', String(NICENESS), 'qemu-system-x86_64'],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    // One CPU: with two, every tenth guest of KVM is reset, it seems when the other CPU interrupts it.
    ...['-M', 'q35,accel=tcg', '-cpu', 'max', '-smp', '1', '-m', `${MEMORY_MIB}M`],
    ...['-object', `memory-backend-memfd,id=memory,size=${MEMORY_MIB}M,share=on`, '-numa', 'node,memdev=memory'],
    ...['-kernel', image, '-initrd', initrd, '-append', line],
    ...['-chardev', 'socket,id=kernel,fd=3', '-serial', 'chardev:kernel'],
    ...['-chardev', `socket,id=root,path=${socket}`, '-device', 'vhost-user-fs-pci,chardev=root,tag=tskata-root'],
    ...[
      '-device',
      'virtio-serial-pci',
      '-chardev',
      'socket,id=terminal,fd=4',
      '-device',
      'virtconsole,chardev=terminal',
    ],
    ...['-chardev', 'socket,id=report,fd=5', '-device', 'virtserialport,chardev=report,name=report'],
    ...['-chardev', 'socket,id=results,fd=6', '-device', 'virtserialport,chardev=results,name=results'],
    ...['-device', 'virtio-rng-pci'],
  ];
  return spawn('setpriv', args, { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'] });
}

/** Without the rate of the clock Linux measures it against a timer that TCG emulates badly, and fails one time in two. */
async function clockParameter(): Promise<string> {
  const khz = hostTscKhz({ cpuinfo: await readFile('/proc/cpuinfo', 'utf8'), baseFrequency: '' });
  return khz === undefined ? '' : `tsc_early_khz=${khz}`;
}

function watch(qemu: ChildProcess, daemon: ChildProcess): HostMachine {
  let words = '';
  let kernelWords = '';
  qemu.stderr?.on('data', (bytes: Buffer) => {
    words = (words + bytes.toString()).slice(-4096);
  });
  channel(qemu, 3).on('data', (bytes: Buffer) => {
    kernelWords = (kernelWords + bytes.toString()).slice(-CONSOLE_KEPT_BYTES);
  });
  const ended = new Promise<string>((resolve) => {
    qemu.once('error', (error) => resolve(`QEMU could not be started: ${error.message}`));
    qemu.once('close', () => resolve(words));
  });
  return {
    terminal: channel(qemu, 4),
    report: channel(qemu, 5),
    results: channel(qemu, 6),
    ended,
    console: () => kernelWords,
    stop: async () => {
      await end(qemu);
      await end(daemon);
    },
  };
}

function channel(child: ChildProcess, fd: number): Duplex {
  const stream = child.stdio[fd];
  if (stream === null || stream === undefined) throw new Error(`descriptor ${fd} of QEMU is not a pipe`);
  // QEMU may end while we write; its end is reported by the process.
  return (stream as Duplex).on('error', () => undefined);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}
