/**
 * Owns the children of PID 1: one place waits for all of them, the agent's own and orphans that the kernel hands over.
 * It knows process ids and endings; what a child was for is its starter's business.
 */
import { close } from './sys/calls.ts';
import { E } from './sys/errno.ts';
import { CLD, EPOLL, P, SIG } from './sys/linux.ts';
import { pidfdSendSignal, signalFd, waitidNoHang } from './sys/processes.ts';
import type { WaitStatus } from './sys/structs.ts';
import type { Loop, SpawnedChild, Sys } from './sys/sys.ts';

/** How a child ended. */
interface ChildEnd {
  /** 0 to 255; 128 + n for signal n. */
  readonly status: number;
  readonly signaled: boolean;
}

/** A child of the agent's own. The pidfd stays open until `close`, so a signal never reaches another process. */
export interface Child {
  readonly pid: number;
  readonly pidfd: number;
  /** Settles once. Listeners added with `onEnd` run before. */
  readonly ended: Promise<ChildEnd>;
  readonly end: ChildEnd | undefined;
  /** Runs in the turn in which the end is seen. */
  onEnd(listener: (end: ChildEnd) => void): void;
  /** Returns 0 or -errno (-ESRCH when it has ended). */
  signal(signal: number): number;
  /** Closes the pidfd; the end is still seen. */
  close(): void;
}

class OwnChild implements Child {
  readonly pid: number;
  readonly pidfd: number;
  readonly ended: Promise<ChildEnd>;
  end: ChildEnd | undefined;
  private readonly sys: Sys;
  private readonly listeners: ((end: ChildEnd) => void)[] = [];
  private settle: (end: ChildEnd) => void = () => {};
  private closed = false;

  constructor(sys: Sys, spawned: SpawnedChild) {
    this.sys = sys;
    this.pid = spawned.pid;
    this.pidfd = spawned.pidfd;
    this.ended = new Promise((resolve) => {
      this.settle = resolve;
    });
  }

  onEnd(listener: (end: ChildEnd) => void): void {
    if (this.end === undefined) this.listeners.push(listener);
    else listener(this.end);
  }

  signal(signal: number): number {
    return this.end !== undefined || this.closed ? -E.ESRCH : pidfdSendSignal(this.sys, this.pidfd, signal);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    close(this.sys, this.pidfd);
  }

  finish(end: ChildEnd): void {
    this.end = end;
    this.settle(end);
    for (const listener of this.listeners) listener(end);
  }
}

/** Waits for every child. One per process. */
export class Supervisor {
  private readonly sys: Sys;
  private readonly loop: Loop;
  private readonly children = new Map<number, OwnChild>();
  private readonly signals: number;
  private readonly record = new Uint8Array(128);

  constructor(sys: Sys, loop: Loop) {
    this.sys = sys;
    this.loop = loop;
    this.signals = signalFd(sys, [SIG.CHLD]);
    loop.watch(this.signals, EPOLL.IN, () => this.reap());
  }

  /** Children of the agent's own that have not ended. */
  get count(): number {
    return this.children.size;
  }

  /** Takes over a spawned process. Must be called in the turn of the spawn. */
  adopt(spawned: SpawnedChild): Child {
    const child = new OwnChild(this.sys, spawned);
    this.children.set(spawned.pid, child);
    return child;
  }

  private reap(): void {
    while (this.sys.read(this.signals, this.record, 0, this.record.length) > 0);
    for (;;) {
      const status = waitidNoHang(this.sys, P.ALL, 0);
      if (status === undefined || typeof status === 'number') return;
      const child = this.children.get(status.pid);
      if (child === undefined) continue;
      this.children.delete(status.pid);
      // A turn of its own for each: what goes wrong in a listener must not keep the next child from being reaped.
      this.loop.timer(0, () => child.finish(endOf(status)));
    }
  }
}

/** The shell's number for an ending. */
function endOf(status: WaitStatus): ChildEnd {
  const signaled = status.code === CLD.KILLED || status.code === CLD.DUMPED;
  return { status: signaled ? 128 + status.status : status.status & 0xff, signaled };
}
