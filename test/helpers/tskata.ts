/**
 * The built `tskata` command with state of its own, and what it may not leave behind. Tests that use it see what a
 * person sees: arguments, output, exit codes, files.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ContainerRecord } from '../../runtime/state/record.ts';
import { StateStore } from '../../runtime/state/store.ts';

/** TSKATA_TEST_BUILD: another build directory, so that a rebuild during a run disturbs nobody. */
export const BUILD = process.env.TSKATA_TEST_BUILD ?? join(import.meta.dirname, '../../build');

/** What a call printed and how it ended. */
export interface Result {
  /** 128 + n after signal n. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CallOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly timeoutMs?: number;
}

const ENDING_MS = 1_000;
const CALL_TIMEOUT_MS = 100_000;

/** A command with run root and lib root of its own. */
export class Tskata {
  readonly directory: string;
  readonly runRoot: string;
  readonly libRoot: string;
  readonly env: NodeJS.ProcessEnv;
  readonly build: string;

  /** `build`: the built programs. */
  constructor(build: string = BUILD) {
    this.build = build;
    this.directory = mkdtempSync(join(tmpdir(), 'tsk-'));
    this.runRoot = join(this.directory, 'run');
    this.libRoot = join(this.directory, 'lib');
    this.env = { ...process.env, TSKATA_RUN_ROOT: this.runRoot, TSKATA_LIB_ROOT: this.libRoot };
  }

  /** A command with the built-in busybox image in its store. */
  static async withBusybox(): Promise<Tskata> {
    const tskata = new Tskata();
    await tskata.ok('load', '--builtin', 'busybox');
    return tskata;
  }

  /** Runs to the end. */
  call(args: readonly string[], options: CallOptions = {}): Promise<Result> {
    return new Promise((resolve) => {
      const child = execFile(
        join(this.build, 'bin/tskata'),
        [...args],
        {
          env: { ...this.env, ...options.env },
          ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
          timeout: options.timeoutMs ?? CALL_TIMEOUT_MS,
          killSignal: 'SIGKILL',
          maxBuffer: 256 * 1024 * 1024,
        },
        (error, stdout, stderr) => {
          const status = error === null ? 0 : typeof error.code === 'number' ? error.code : 137;
          resolve({ status, stdout, stderr });
        },
      );
      child.stdin?.end(options.input ?? '');
    });
  }

  /** Runs to the end, which must be a good one; returns standard output without white space around it. */
  async ok(...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.call(args);
    if (status !== 0) throw new Error(`tskata ${args.join(' ')} ended with ${status}: ${stderr}`);
    return stdout.trim();
  }

  /** Starts without waiting. The caller ends it. */
  start(args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
    return spawn(join(this.build, 'bin/tskata'), [...args], {
      env: { ...this.env, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  }

  /** Starts a shell line, in which $TSKATA is the command, with a terminal as input and output, by script(1). */
  startInTerminal(line: string): ChildProcess {
    return spawn('script', ['-qefc', line, '/dev/null'], {
      env: { ...this.env, TSKATA: join(this.build, 'bin/tskata') },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  }

  /** Processes that hold a file below our roots open, mounts below them, sockets, groups and records. Empty when all is clean. */
  leaks(): string[] {
    return [
      ...lastingProcesses(this.directory),
      ...mountsBelow(this.directory),
      ...entriesOf(join(this.runRoot, 's')).filter((path) => /\.(sock|d)$/.test(path)),
      // Lists of cgroups that are still there.
      ...entriesOf(join(this.runRoot, 'cgroups')),
      ...this.records(),
    ];
  }

  /** The record of a container. */
  record(id: string): ContainerRecord {
    const record = new StateStore(this.runRoot).find('default', id);
    if (record === undefined) throw new Error(`there is no record of ${id}`);
    return record;
  }

  /** Directories of containers that are still there. */
  records(): string[] {
    return [...entriesOf(join(this.runRoot, 'default')), ...entriesOf(join(this.libRoot, 'containers', 'default'))];
  }

  /** Removes everything; throws when something was left. */
  dispose(): void {
    const leaks = this.leaks();
    for (const pid of processIds(this.directory)) process.kill(pid, 'SIGKILL');
    rmSync(this.directory, { recursive: true, force: true });
    if (leaks.length > 0) throw new Error(`left behind:\n${leaks.join('\n')}`);
  }
}

/** Paths in a directory; none in one that is not there. */
function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory).map((name) => join(directory, name));
  } catch {
    return [];
  }
}

/** Settles when `done` is true; fails after the deadline. For states that others change and no event tells of. */
export async function eventually(
  done: () => boolean | Promise<boolean>,
  timeoutMs: number,
  what: string,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await done())) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Collects a child's output; `until` settles when it matches. */
export function watchOutput(child: ChildProcess): {
  text(): string;
  until(pattern: RegExp, timeoutMs?: number): Promise<string>;
} {
  let text = '';
  child.stdout?.on('data', (bytes: Buffer) => {
    text += bytes.toString();
  });
  child.stderr?.on('data', (bytes: Buffer) => {
    text += bytes.toString();
  });
  return {
    text: () => text,
    until: async (pattern, timeoutMs = CALL_TIMEOUT_MS) => {
      await eventually(() => pattern.test(text), timeoutMs, `${pattern} in ${JSON.stringify(text)}`);
      return text;
    },
  };
}

/** How a child ended: its code, or 128 + n. */
export function ending(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    child.once('close', (code, signal) => resolve(code ?? (signal === 'SIGKILL' ? 137 : 255)));
  });
}

function processIds(prefix: string): number[] {
  const found: number[] = [];
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const held = readdirSync(`/proc/${name}/fd`).some((fd) => {
        try {
          return readlinkSync(`/proc/${name}/fd/${fd}`).startsWith(`${prefix}/`);
        } catch {
          return false;
        }
      });
      if (held && Number(name) !== process.pid) found.push(Number(name));
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}

/** Those that are still there after a while: a shim ends a moment after it has closed its connections. */
function lastingProcesses(prefix: string): string[] {
  const end = performance.now() + ENDING_MS;
  let found = processesHolding(prefix);
  while (found.length > 0 && performance.now() < end) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    found = processesHolding(prefix);
  }
  return found;
}

function processesHolding(prefix: string): string[] {
  return processIds(prefix).flatMap((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').slice(0, 120);
      // Without a command line it has given up its memory already: it is on its way out.
      return command === '' ? [] : [`process ${pid}: ${command}`];
    } catch {
      // It ended while we looked.
      return [];
    }
  });
}

function mountsBelow(prefix: string): string[] {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
  return points.filter((point) => point.startsWith(`${prefix}/`)).map((point) => `mount ${point}`);
}
