/**
 * Owns one process of a container, init or exec, from its plan to its end: phase, streams, exit. What the plan says is
 * computed elsewhere.
 */

import type { ProcessIo } from '../io/process-io.ts';
import { Code, TskataError } from '../protocol/errors.ts';
import type { Child } from '../supervisor.ts';
import { writeFile } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { isErrno, SysError } from '../sys/errors.ts';
import { CLOCK } from '../sys/linux.ts';
import type { SpawnPlan } from '../sys/plan.ts';
import { clockNs, pidfdGetfd } from '../sys/processes.ts';
import type { Loop } from '../sys/sys.ts';
import { Launch, type LaunchTools, StepError, type SyncHandler } from './launch.ts';
import { TERMINAL_SYNC } from './plan/terminal.ts';
import { applyRlimits } from './rlimits.ts';
import { applyScheduling } from './scheduling.ts';
import type { ProcessSpec } from './spec.ts';

const KILL_TIMEOUT_MS = 10_000;

/** How a process ended. */
export interface ProcessExit {
  readonly status: number;
  /** Nanoseconds since the epoch, by the guest's clock. */
  readonly exitedAtNs: bigint;
  readonly oomKilled: boolean;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
}

/** created: stands before its exec. running: the program runs. stopped: it has ended. */
export type ProcessPhase = 'created' | 'running' | 'stopped';

/** What a start needs beside the plan. */
export interface ProcessStart {
  readonly plan: SpawnPlan;
  /** Name of the sync before the exec. */
  readonly hold: string;
  readonly spec: Pick<ProcessSpec, 'oomScoreAdj' | 'rlimits' | 'scheduler' | 'ioPriority'>;
  readonly io: ProcessIo;
  readonly handlers?: ReadonlyMap<string, SyncHandler>;
  /** Asked at the end of the process. */
  readonly wasOomKilled: () => boolean;
  readonly timeoutMs: number;
}

/** A process whose child exists. */
export class Process {
  readonly pid: number;
  readonly io: ProcessIo;
  /** Settles once. Never rejects. */
  readonly exited: Promise<ProcessExit>;
  exit: ProcessExit | undefined;
  phase: ProcessPhase = 'created';
  readonly child: Child;
  private readonly launch: Launch;

  private constructor(tools: LaunchTools, launch: Launch, start: ProcessStart) {
    this.launch = launch;
    this.child = launch.child;
    this.pid = launch.child.pid;
    this.io = start.io;
    this.exited = new Promise((resolve) => {
      this.child.onEnd((end) => {
        this.phase = 'stopped';
        const counts = this.io.count();
        this.exit = {
          status: end.status,
          exitedAtNs: clockNs(tools.sys, CLOCK.REALTIME),
          oomKilled: start.wasOomKilled(),
          stdoutBytes: counts.stdout,
          stderrBytes: counts.stderr,
        };
        resolve(this.exit);
      });
    });
  }

  /** Spawns, and settles when the child stands before its exec. On failure nothing is left but the caller's `io`. */
  static async create(tools: LaunchTools, start: ProcessStart): Promise<Process> {
    const handlers = new Map<string, SyncHandler>(start.handlers ?? []);
    handlers.set(TERMINAL_SYNC, (child, fd) => {
      start.io.attachTerminal(pidfdGetfd(tools.sys, child.pidfd, fd));
    });
    handlers.set(start.hold, (child) => {
      // By us, not by the child: in a user namespace it could not come back from the agent's own -1000.
      writeFile(tools.sys, `/proc/${child.pid}/oom_score_adj`, String(start.spec.oomScoreAdj));
      applyRlimits(tools.sys, child.pid, start.spec.rlimits);
      applyScheduling(tools.sys, child.pid, start.spec);
    });
    const launch = new Launch(tools, start.plan, handlers, start.hold);
    start.io.spawned();
    const process = new Process(tools, launch, start);
    const cancel = tools.loop.timer(start.timeoutMs, () => {
      const fact = `it was not ready within ${start.timeoutMs / 1000} s`;
      launch.kill(new TskataError(Code.DeadlineExceeded, `start a process: ${fact}`));
    });
    try {
      await launch.held;
      return process;
    } catch (error) {
      process.close();
      throw explain(error);
    } finally {
      cancel();
    }
  }

  /** Lets the program start; settles at the exec. Rejects with runc's words when there is no such program. */
  async start(timeoutMs: number, tools: LaunchTools): Promise<void> {
    const cancel = tools.loop.timer(timeoutMs, () => {
      const fact = `the program did not start within ${timeoutMs / 1000} s`;
      this.launch.kill(new TskataError(Code.DeadlineExceeded, `start a process: ${fact}`));
    });
    this.launch.release();
    try {
      await this.launch.done;
      if (this.phase === 'created') this.phase = 'running';
    } catch (error) {
      throw explain(error);
    } finally {
      cancel();
    }
  }

  /** Sends a signal. Throws TskataError not_found when the process has ended. */
  signal(signal: number): void {
    const result = this.child.signal(signal);
    if (result === 0) return;
    if (result === -E.ESRCH) throw new TskataError(Code.NotFound, 'signal process: it has already ended');
    throw new SysError('signal process', '', -result);
  }

  /** Forgets the process: closes its streams and its pidfd. */
  close(): void {
    this.io.close();
    this.child.close();
  }
}

/** Settles when killed processes have ended, or at a bound: one that hangs on a dead share never ends. */
export async function waitForEnds(loop: Loop, processes: readonly Process[]): Promise<void> {
  let cancel = (): void => {};
  const deadline = new Promise<void>((resolve) => {
    cancel = loop.timer(KILL_TIMEOUT_MS, resolve);
  });
  await Promise.race([Promise.all(processes.map((process) => process.exited)), deadline]);
  cancel();
}

/** Failures of the last steps in the words that clients look for. */
function explain(error: unknown): unknown {
  if (!(error instanceof StepError)) return error;
  const { step } = error;
  if (step?.op === 'exec') {
    return new TskataError(Code.InvalidArgument, `exec: "${step.path}": ${execFact(step.path, error.errno)}`, error);
  }
  if (step?.label.startsWith('chdir to cwd') === true && isErrno(error, E.ENOENT, E.ENOTDIR, E.EACCES)) {
    const fact = error.errno === E.ENOENT ? 'no such file or directory' : factOf(error.errno);
    return new TskataError(Code.InvalidArgument, `${step.label} set in config.json failed: ${fact}`, error);
  }
  return error;
}

function execFact(path: string, errno: number): string {
  if (errno === E.ENOENT && !path.includes('/')) return 'executable file not found in $PATH';
  return factOf(errno);
}

/** The C library's phrases. */
function factOf(errno: number): string {
  switch (errno) {
    case E.ENOENT:
      return 'no such file or directory';
    case E.EACCES:
    case E.EPERM:
      return 'permission denied';
    case E.ENOTDIR:
      return 'not a directory';
    case E.EISDIR:
      return 'is a directory';
    case E.ENOEXEC:
      return 'exec format error';
    case E.E2BIG:
      return 'argument list too long';
    case E.ELOOP:
      return 'too many levels of symbolic links';
    default:
      return new SysError('', '', errno).code;
  }
}
