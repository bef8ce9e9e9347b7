/**
 * Network and mount namespaces of a test's own: bridges, iptables rules, network namespaces, mounts, and whatever
 * programs keep in /run end with them. A holder keeps them; it ends when its input does, so also when we are killed.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rmdir } from 'node:fs/promises';
import type { Result } from '../tskata.ts';

const READY = 'ready\n';
const CALL_TIMEOUT_MS = 280_000;
/** libcni keeps its cache here, and cannot be told otherwise. */
const CNI_CACHE = '/var/lib/cni';

/** What the holder does in its new namespaces. */
const SETUP = [
  'set -e',
  // A copy of another's mount would keep that network namespace alive.
  "for point in $(sed -n 's,^[^ ]* [^ ]* [^ ]* [^ ]* \\(/run/netns/[^ ]*\\) .*,\\1,p' /proc/self/mountinfo); do umount -l $point; done",
  'mount -t tmpfs -o mode=755 tmpfs /run',
  'mkdir /run/netns /run/lock /run/containerd',
  `mount -t tmpfs tmpfs ${CNI_CACHE}`,
  'ip link set lo up',
  'echo 1 > /proc/sys/net/ipv4/ip_forward',
  'echo ready',
  'exec cat',
].join('\n');

/** How to run a program in them. */
export interface InsideOptions {
  readonly input?: string | Buffer;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** A pair of namespaces. */
export class TestNamespaces {
  readonly #holder: ChildProcess;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  static async open(): Promise<TestNamespaces> {
    await mkdir(CNI_CACHE, { recursive: true });
    const holder = spawn('unshare', ['--net', '--mount', '--propagation', 'slave', 'sh', '-c', SETUP], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const [first] = (await Promise.race([once(holder.stdout, 'data'), once(holder, 'exit')])) as [unknown];
    if (String(first) !== READY) throw new Error('the namespaces of the test could not be set up');
    return new TestNamespaces(holder);
  }

  /** Process that keeps them. */
  get pid(): number {
    if (this.#holder.pid === undefined) throw new Error('the holder did not start');
    return this.#holder.pid;
  }

  /** The words before a command that make it run in them. */
  get prefix(): readonly string[] {
    return ['nsenter', '--target', String(this.pid), '--net', '--mount', '--'];
  }

  /** Runs a program in them to its end. */
  call(command: readonly string[], options: InsideOptions = {}): Promise<Result> {
    const [program = '', ...args] = [...this.prefix, ...command];
    return new Promise((resolve) => {
      const child = execFile(
        program,
        args,
        {
          env: { ...process.env, ...options.env },
          timeout: options.timeoutMs ?? CALL_TIMEOUT_MS,
          killSignal: 'SIGKILL',
          maxBuffer: 64 * 1024 * 1024,
        },
        (error, stdout, stderr) => {
          const status = error === null ? 0 : typeof error.code === 'number' ? error.code : 137;
          resolve({ status, stdout, stderr });
        },
      );
      if (options.input === undefined) return;
      // A program that does not read all of it is its own affair.
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(options.input);
    });
  }

  /** Runs a program that must succeed; returns its standard output. */
  async ok(...command: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.call(command);
    if (status !== 0) throw new Error(`${command.join(' ')} ended with ${status}: ${stderr}`);
    return stdout;
  }

  /** Starts a program in them that ends with this process at the latest. */
  start(command: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
    const [program = '', ...args] = [...this.prefix, 'setpriv', '--pdeathsig', 'KILL', ...command];
    return spawn(program, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
  }

  async close(): Promise<void> {
    const ended = once(this.#holder, 'exit');
    this.#holder.stdin?.end();
    await ended;
    // Ours if it is empty; another test may use it.
    await rmdir(CNI_CACHE).catch(() => undefined);
  }
}
