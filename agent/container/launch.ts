/**
 * Owns the conversation with a child that interprets a spawn plan: its syncs, its failing step, its exec. Knows no
 * container; the handlers do.
 */

import { Code, TskataError } from '../protocol/errors.ts';
import type { Child, Supervisor } from '../supervisor.ts';
import { close } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { SysError } from '../sys/errors.ts';
import { EPOLL, SIG } from '../sys/linux.ts';
import type { SpawnPlan, Step } from '../sys/plan.ts';
import { viewOf } from '../sys/structs.ts';
import type { Loop, Sys } from '../sys/sys.ts';

const PACKET_BYTES = 16;
const KIND_SYNC = 1;
const GO = new Uint8Array([1]);

/** What launching needs. */
export interface LaunchTools {
  readonly sys: Sys;
  readonly loop: Loop;
  readonly supervisor: Supervisor;
}

/** A step of a plan failed in the child. The message is "label: ERRNO". */
export class StepError extends SysError {
  readonly step: Step | undefined;

  constructor(step: Step | undefined, errno: number) {
    super(step?.label ?? 'spawn plan', '', errno);
    this.step = step;
  }
}

/** Runs at a `sync`, in the parent; the child goes on when it returns. `fd` is a number in the child. */
export type SyncHandler = (child: Child, fd: number) => void;

/** A child between its clone and its exec. */
export class Launch {
  readonly child: Child;
  /** Settles when the child stands at the `hold` sync; rejects with its failure, or when it ends before. */
  readonly held: Promise<void>;
  /** Settles at the exec, or when a plan without one has ended well; rejects with the failing step. */
  readonly done: Promise<void>;
  private readonly tools: LaunchTools;
  private readonly plan: SpawnPlan;
  private readonly handlers: ReadonlyMap<string, SyncHandler>;
  private readonly hold: string | undefined;
  private readonly statusFd: number;
  private readonly packet = new Uint8Array(PACKET_BYTES);
  private settleHeld: [() => void, (error: unknown) => void] = [() => {}, () => {}];
  private settleDone: [() => void, (error: unknown) => void] = [() => {}, () => {}];
  private open = true;
  private atHold = false;
  /** Whether an end of file may mean the exec. */
  private released: boolean;

  /** Spawns. Throws SysError when no child came to be. */
  constructor(tools: LaunchTools, plan: SpawnPlan, handlers: ReadonlyMap<string, SyncHandler>, hold?: string) {
    this.tools = tools;
    this.plan = plan;
    this.handlers = handlers;
    this.hold = hold;
    this.released = hold === undefined;
    const spawned = tools.sys.spawn(plan);
    if (typeof spawned === 'number') throw new SysError('start a process', '', -spawned);
    this.child = tools.supervisor.adopt(spawned);
    this.statusFd = spawned.statusFd;
    this.held = new Promise((resolve, reject) => {
      this.settleHeld = [resolve, reject];
    });
    this.done = new Promise((resolve, reject) => {
      this.settleDone = [resolve, reject];
    });
    // Whoever waits for one of them sees the failure; the other must not count as unhandled.
    this.held.catch(() => {});
    this.done.catch(() => {});
    tools.loop.watch(this.statusFd, EPOLL.IN, () => this.receive());
  }

  /** Lets the child go on from the hold. */
  release(): void {
    if (!this.atHold || !this.open) return;
    this.atHold = false;
    this.released = true;
    this.tools.sys.write(this.statusFd, GO, 0, 1);
  }

  /** Ends the child, whatever it does. One that hangs in the kernel ends when the kernel lets it. */
  kill(reason: TskataError): void {
    this.child.signal(SIG.KILL);
    this.fail(reason);
  }

  private receive(): void {
    const { sys } = this.tools;
    while (this.open) {
      const length = sys.read(this.statusFd, this.packet, 0, PACKET_BYTES);
      if (length === -E.EAGAIN) return;
      if (length !== PACKET_BYTES) {
        this.finish();
        return;
      }
      const view = viewOf(this.packet);
      const index = view.getInt32(4, true);
      const step = this.plan.steps[index];
      if (view.getInt32(0, true) === KIND_SYNC) this.synchronize(step, view.getInt32(12, true));
      else this.fail(new StepError(step, view.getInt32(8, true)));
    }
  }

  private synchronize(step: Step | undefined, fd: number): void {
    const name = step?.op === 'sync' ? step.name : '';
    try {
      this.handlers.get(name)?.(this.child, fd);
    } catch (error) {
      this.child.signal(SIG.KILL);
      this.fail(error);
      return;
    }
    if (name === this.hold) {
      this.atHold = true;
      this.settleHeld[0]();
    } else {
      this.tools.sys.write(this.statusFd, GO, 0, 1);
    }
  }

  /** End of file: exec, exit or death. */
  private finish(): void {
    const last = this.plan.steps[this.plan.steps.length - 1];
    // A released child that says nothing of a failure has reached its exec, even when its program has ended since.
    if (last?.op === 'exec' && this.released) {
      this.closeStatus();
      this.settleDone[0]();
      // Only a plan without a hold reaches this with `held` open.
      this.settleHeld[0]();
      return;
    }
    this.closeStatus();
    this.child.onEnd((end) => {
      if (last?.op === 'exit' && end.status === 0) {
        this.settleDone[0]();
        this.settleHeld[0]();
        return;
      }
      const fact = end.signaled ? `it was killed by signal ${end.status - 128}` : `it ended with status ${end.status}`;
      this.fail(new TskataError(Code.Aborted, `start a process: ${fact} before it was ready`));
    });
  }

  private fail(error: unknown): void {
    this.closeStatus();
    this.settleHeld[1](error);
    this.settleDone[1](error);
  }

  private closeStatus(): void {
    if (!this.open) return;
    this.open = false;
    this.tools.loop.unwatch(this.statusFd);
    close(this.tools.sys, this.statusFd);
  }
}

/** Runs a plan that only does file-system work, with a deadline. Rejects with the failing step. */
export async function runPlan(
  tools: LaunchTools,
  plan: SpawnPlan,
  timeoutMs: number,
  handlers: ReadonlyMap<string, SyncHandler> = new Map(),
): Promise<void> {
  const launch = new Launch(tools, plan, handlers);
  const label = plan.steps[0]?.label ?? 'run a plan';
  const cancel = tools.loop.timer(timeoutMs, () => {
    launch.kill(new TskataError(Code.DeadlineExceeded, `${label}: no answer within ${timeoutMs / 1000} s`));
  });
  try {
    await launch.done;
  } finally {
    cancel();
    launch.child.close();
  }
}
