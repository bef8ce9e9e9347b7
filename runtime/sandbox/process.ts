/**
 * Owns one process of a container, init or exec: its status, its one ending, and that its start is told before its
 * end. Refuses to know how it is made in the guest: `start` gets that as a function.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { within } from '../host/step.ts';
import { DEAD_OUTPUT_DRAIN_MS, OUTPUT_DRAIN_MS } from './deadlines.ts';
import type { GuestConnection } from './guest.ts';
import type { ProcessIo, ProcessStreams, StdioPaths } from './process-io.ts';
import { programFailure } from './start-failure.ts';
import type { ProcessExit, ProcessStatus } from './status.ts';

/** Exit status of a process of which nothing is known. */
const UNKNOWN_STATUS = 255;
/** Of a limit of its own, or of its machine, which has that of all limits. */
export const OUT_OF_MEMORY = 'the container ran out of memory, and the kernel killed it - give it a higher limit (-m)';
/** Exit status of a process whose machine ended: as if killed. */
const KILLED_STATUS = 137;
/** Exit status of a process that did not start, not for want of its program. */
const FAILED_START_STATUS = 128;
/** How long a failed Wait may be followed by the end of the connection, which explains it. */
const CONNECTION_END_MS = 2_000;

/** What a process tells its container. Called synchronously at the transition. */
export interface ProcessHooks {
  started(process: GuestProcess): void;
  /** Before the exit counts: an init lets its execs go first. Bounded by the implementer. */
  ending(process: GuestProcess): Promise<void>;
  exited(process: GuestProcess, exit: ProcessExit): void;
}

/** What a process is born with. */
export interface ProcessParts {
  readonly containerId: string;
  /** Empty for the container's init. */
  readonly execId: string;
  readonly stdio: StdioPaths;
  /** Number by which the host knows it, unique while it lives. */
  readonly pid: number;
  readonly hooks: ProcessHooks;
}

export class GuestProcess {
  readonly containerId: string;
  readonly execId: string;
  readonly stdio: StdioPaths;
  readonly pid: number;
  readonly #hooks: ProcessHooks;
  readonly #exited = Promise.withResolvers<ProcessExit>();
  #status: ProcessStatus = { name: 'created' };
  #early: ProcessExit | undefined;
  /** The guest's word, while what was written before it is still on its way. */
  #known: ProcessExit | undefined;
  #ending = false;
  #io: ProcessIo | undefined;

  constructor(parts: ProcessParts) {
    this.containerId = parts.containerId;
    this.execId = parts.execId;
    this.stdio = parts.stdio;
    this.pid = parts.pid;
    this.#hooks = parts.hooks;
  }

  get status(): ProcessStatus {
    return this.#status;
  }

  /** Settles once, whatever happens to the guest. Never rejects. */
  get exited(): Promise<ProcessExit> {
    return this.#exited.promise;
  }

  get io(): ProcessIo | undefined {
    return this.#io;
  }

  /** Takes what carries its bytes, opens the streams that it wants, and begins to copy. */
  attach(io: ProcessIo, guest: GuestConnection): ProcessStreams {
    this.#io = io;
    const streams: ProcessStreams = {
      ...(io.wants.stdin ? { stdin: guest.openStream('to-guest') } : {}),
      ...(io.wants.stdout ? { stdout: guest.openStream('from-guest') } : {}),
      ...(io.wants.stderr ? { stderr: guest.openStream('from-guest') } : {}),
    };
    io.attach(streams);
    return streams;
  }

  /** From now on the guest's word ends the process. Call when the guest knows it. */
  watch(guest: GuestConnection): void {
    void this.#awaitExit(guest);
  }

  /**
   * Runs it by `run`. `started` is told before this returns, and before any exit. When `run` fails the process is
   * stopped without an exit having been told, since it never started.
   */
  async start(run: () => Promise<void>): Promise<void> {
    if (this.#status.name !== 'created') {
      const what = this.execId === '' ? `container ${this.containerId}` : `exec ${this.execId}`;
      throw new TskataError(Code.FailedPrecondition, `start ${what}: cannot start a ${this.#status.name} process`);
    }
    this.#status = { name: 'starting' };
    try {
      await run();
    } catch (caught) {
      const error = TskataError.from(caught);
      const { message: reason } = error;
      const status = programFailure(reason);
      this.#finish(this.#early ?? { status: status ?? FAILED_START_STATUS, at: new Date(), oomKilled: false, reason });
      // The reference shim has no code for a program that cannot be run; clients go by the words.
      throw status === undefined ? error : new TskataError(Code.Unknown, reason, caught);
    }
    this.#status = { name: 'running' };
    this.#hooks.started(this);
    if (this.#early !== undefined) this.#announce(this.#early);
  }

  /** The machine has ended: whatever output had arrived is delivered, within a bound. */
  async drainDead(): Promise<void> {
    if (this.#status.name === 'stopped' || this.#early !== undefined) return;
    if (this.#io !== undefined) await within(DEAD_OUTPUT_DRAIN_MS, this.#io.ended(), undefined);
  }

  /** The machine has ended: so has this, if not by itself before. */
  endWithMachine(reason: string): void {
    this.settle(this.#known ?? { status: KILLED_STATUS, at: new Date(), oomKilled: false, reason });
  }

  /** Ends it with `exit` unless it has ended already. */
  settle(exit: ProcessExit): void {
    if (this.#status.name === 'stopped' || this.#early !== undefined) return;
    if (this.#status.name === 'starting') this.#early = exit;
    else this.#announce(exit);
  }

  /** It was registered only, and is forgotten: whoever waits for it is answered, and no exit is told. */
  discard(exit: ProcessExit): void {
    if (this.#status.name === 'created') this.#finish(exit);
  }

  async #awaitExit(guest: GuestConnection): Promise<void> {
    const exit = await this.#askForExit(guest);
    // The end of the connection is the end of the machine, which ends every process with its reason.
    if (exit === undefined || this.#ending) return;
    this.#ending = true;
    await this.#hooks.ending(this);
    this.settle(exit);
  }

  async #askForExit(guest: GuestConnection): Promise<ProcessExit | undefined> {
    const { containerId, execId } = this;
    try {
      const answer = await guest.call.waitProcess({ containerId, execId }, { timeoutMs: 0 });
      this.#io?.stopInput();
      const status = Math.min(answer.exitStatus, UNKNOWN_STATUS);
      // The time is the host's: the guest's clock is not to be trusted.
      const { oomKilled } = answer;
      this.#known = { status, at: new Date(), oomKilled, ...(oomKilled ? { reason: OUT_OF_MEMORY } : {}) };
      const counts = { stdout: answer.stdoutBytes, stderr: answer.stderrBytes };
      if (this.#io !== undefined) await within(OUTPUT_DRAIN_MS, this.#io.delivered(counts), undefined);
      return this.#known;
    } catch (caught) {
      const over = await within(CONNECTION_END_MS, guest.closed, undefined);
      if (over !== undefined) return undefined;
      const reason = `the agent lost track of the process: ${TskataError.from(caught).message}`;
      return { status: UNKNOWN_STATUS, at: new Date(), oomKilled: false, reason };
    }
  }

  #announce(exit: ProcessExit): void {
    // Told before waiters wake: whoever acts on the exit finds its event sent.
    this.#status = { name: 'stopped', exit };
    this.#hooks.exited(this, exit);
    this.#exited.resolve(exit);
  }

  #finish(exit: ProcessExit): void {
    this.#status = { name: 'stopped', exit };
    this.#exited.resolve(exit);
  }
}
