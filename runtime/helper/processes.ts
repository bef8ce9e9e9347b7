/**
 * The helper's children: started from a plan, watched by pidfd, ended with the helper. Knows neither jails nor RPC.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { close } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { SysError } from '../../agent/sys/errors.ts';
import { CLD, EPOLL, P, SIG } from '../../agent/sys/linux.ts';
import type { SpawnPlan } from '../../agent/sys/plan.ts';
import { pidfdSendSignal, waitidNoHang } from '../../agent/sys/processes.ts';
import { viewOf } from '../../agent/sys/structs.ts';
import type { Loop, SpawnedChild, Sys } from '../../agent/sys/sys.ts';

/** A child from its clone to its exec: mounts and a few hundred calls. */
const START_TIMEOUT_MS = 20_000;

/** Packet of the status descriptor: kind, step, errno, descriptor. */
const STATUS_BYTES = 16;
const STATUS_SYNC = 1;
const STATUS_FAILED = 2;

interface Child {
  readonly name: string;
  readonly pid: number;
  readonly pidfd: number;
  /** Settles with the exit code, or 128 + n for signal n. */
  readonly ended: Promise<number>;
  alive: boolean;
}

/** All children by name. A name can be used again after its process has ended. */
export class Processes {
  readonly #sys: Sys;
  readonly #loop: Loop;
  readonly #children = new Map<string, Child>();
  #closing = false;

  constructor(sys: Sys, loop: Loop) {
    this.#sys = sys;
    this.#loop = loop;
  }

  /** Throws when a start under this name would be refused. */
  requireFree(name: string): void {
    if (this.#closing) throw new TskataError(Code.Unavailable, `start ${name}: the helper is ending`);
    if (this.#children.get(name)?.alive) {
      throw new TskataError(Code.AlreadyExists, `start ${name}: a process of this name is running`);
    }
  }

  /** Starts a process and waits for its exec. Returns its pid; a failed step becomes a SysError with its label. */
  async start(name: string, plan: SpawnPlan): Promise<number> {
    this.requireFree(name);
    const spawned = this.#sys.spawn(plan);
    if (typeof spawned === 'number') throw new SysError('start', name, -spawned);
    const child = this.#track(name, spawned);
    try {
      await this.#handshake(child, spawned.statusFd, plan);
    } catch (error) {
      pidfdSendSignal(this.#sys, child.pidfd, SIG.KILL);
      await child.ended;
      throw error;
    }
    return child.pid;
  }

  /** Sends a signal. NotFound when there is no such process or it has ended. */
  signal(name: string, signal: number): void {
    const child = this.#get(name);
    if (!child.alive) throw new TskataError(Code.NotFound, `signal ${name}: the process has ended`);
    const result = pidfdSendSignal(this.#sys, child.pidfd, signal);
    if (result < 0 && result !== -E.ESRCH) throw new SysError('signal', name, -result);
  }

  /** The end of a process: exit code, or 128 + n for signal n. */
  wait(name: string): Promise<number> {
    return this.#get(name).ended;
  }

  /** Drops what is known of an ended process. */
  forget(name: string): void {
    if (this.#children.get(name)?.alive === false) this.#children.delete(name);
  }

  /** Kills all children and waits until they are gone. No start succeeds afterwards. */
  async end(): Promise<void> {
    this.#closing = true;
    const running = [...this.#children.values()].filter((child) => child.alive);
    for (const child of running) pidfdSendSignal(this.#sys, child.pidfd, SIG.KILL);
    await Promise.all(running.map((child) => child.ended));
  }

  #get(name: string): Child {
    const child = this.#children.get(name);
    if (child === undefined) throw new TskataError(Code.NotFound, `find process ${name}: the helper started none`);
    return child;
  }

  #track(name: string, spawned: SpawnedChild): Child {
    let settle: (status: number) => void = () => {};
    const ended = new Promise<number>((resolve) => {
      settle = resolve;
    });
    const child: Child = { name, pid: spawned.pid, pidfd: spawned.pidfd, ended, alive: true };
    this.#children.set(name, child);
    this.#loop.watch(spawned.pidfd, EPOLL.IN, () => {
      const status = waitidNoHang(this.#sys, P.PIDFD, spawned.pidfd);
      if (status === undefined) return;
      this.#loop.unwatch(spawned.pidfd);
      close(this.#sys, spawned.pidfd);
      child.alive = false;
      if (typeof status === 'number') settle(255);
      else settle(status.code === CLD.EXITED ? status.status : 128 + status.status);
    });
    return child;
  }

  /** Follows the child's reports up to the end of file that an exec makes. */
  #handshake(child: Child, statusFd: number, plan: SpawnPlan): Promise<void> {
    const packet = new Uint8Array(STATUS_BYTES);
    return new Promise((resolve, reject) => {
      const finish = (error?: Error): void => {
        cancel();
        this.#loop.unwatch(statusFd);
        close(this.#sys, statusFd);
        if (error === undefined) resolve();
        else reject(error);
      };
      const cancel = this.#loop.timer(START_TIMEOUT_MS, () => {
        finish(new TskataError(Code.DeadlineExceeded, `start ${child.name}: not done within ${START_TIMEOUT_MS} ms`));
      });
      this.#loop.watch(statusFd, EPOLL.IN, () => {
        const count = this.#sys.read(statusFd, packet, 0, STATUS_BYTES);
        if (count === -E.EAGAIN || count === -E.EINTR) return;
        if (count < STATUS_BYTES) {
          finish(count < 0 && count !== -E.ECONNRESET ? new SysError('start', child.name, -count) : undefined);
          return;
        }
        const view = viewOf(packet);
        const kind = view.getInt32(0, true);
        if (kind === STATUS_SYNC) this.#sys.write(statusFd, packet, 0, 1);
        if (kind === STATUS_FAILED) {
          const label = plan.steps[view.getInt32(4, true)]?.label ?? 'unknown step';
          finish(new SysError(`start ${child.name}`, label, view.getInt32(8, true)));
        }
      });
    });
  }
}
