/**
 * Hands descriptors to QEMU over a monitor of its own: greeting, capabilities, `add-fd`, and `getfd` with the one command
 * that uses the name, because a name is known to its own monitor only. It takes an answer of bounded size only: a QEMU
 * that was taken over by its guest talks to nothing but this.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { close, setNonBlocking } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { SysError } from '../../agent/sys/errors.ts';
import { EPOLL } from '../../agent/sys/linux.ts';
import { sendDescriptors } from '../../agent/sys/sockets.ts';
import { text, utf8 } from '../../agent/sys/structs.ts';
import type { Loop, Sys } from '../../agent/sys/sys.ts';

const ANSWER_TIMEOUT_MS = 10_000;
const MAX_LINE_BYTES = 16 * 1024;

/** One monitor connection. Commands run one after the other. */
export class QmpDescriptors {
  readonly #sys: Sys;
  readonly #loop: Loop;
  readonly #fd: number;
  #queue: Promise<unknown> = Promise.resolve();
  #received = new Uint8Array(0);
  #waiting: { readonly resolve: (line: string) => void; readonly reject: (error: Error) => void } | undefined;
  #ready = false;
  #dead: Error | undefined;

  /** Owns `fd`, the other end of QEMU's monitor chardev. */
  constructor(sys: Sys, loop: Loop, fd: number) {
    this.#sys = sys;
    this.#loop = loop;
    this.#fd = fd;
    setNonBlocking(sys, fd);
    loop.watch(fd, EPOLL.IN, () => this.#read());
  }

  /** Adds `passed` to the fdset. The caller keeps its own descriptor. */
  add(fdset: number, passed: number): Promise<void> {
    return this.#inTurn(() => this.#command({ execute: 'add-fd', arguments: { 'fdset-id': fdset } }, [passed]));
  }

  /** Makes a network back end of an opened tap. The caller keeps its own descriptors. */
  addTap(id: string, tap: number, vhost: number | undefined): Promise<void> {
    const name = `${id}-tap`;
    const vhostName = `${id}-vhost`;
    return this.#inTurn(async () => {
      await this.#command({ execute: 'getfd', arguments: { fdname: name } }, [tap]);
      if (vhost !== undefined) await this.#command({ execute: 'getfd', arguments: { fdname: vhostName } }, [vhost]);
      const kernel = vhost === undefined ? { vhost: false } : { vhost: true, vhostfd: vhostName };
      await this.#command({ execute: 'netdev_add', arguments: { type: 'tap', id, fd: name, ...kernel } }, []);
    });
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const result = this.#queue.then(async () => {
      if (!this.#ready) {
        await this.#line();
        await this.#command({ execute: 'qmp_capabilities' }, []);
        this.#ready = true;
      }
      await work();
    });
    this.#queue = result.catch(() => {});
    return result;
  }

  async #command(
    command: { readonly execute: string; readonly arguments?: unknown },
    fds: readonly number[],
  ): Promise<void> {
    const bytes = utf8(`${JSON.stringify(command)}\n`);
    const sent = sendDescriptors(this.#sys, this.#fd, bytes, fds);
    if (sent !== bytes.length) {
      throw new SysError(`send ${command.execute} to`, 'QEMU', sent < 0 ? -sent : E.EAGAIN);
    }
    for (;;) {
      const answer: unknown = JSON.parse(await this.#line());
      if (typeof answer !== 'object' || answer === null) continue;
      if ('return' in answer) return;
      if ('error' in answer) {
        const said = JSON.stringify(answer.error).slice(0, 500);
        throw new TskataError(Code.Internal, `${command.execute}: QEMU answered ${said}`);
      }
      // Anything else is an event, of which this monitor wants none.
    }
  }

  #line(): Promise<string> {
    return new Promise((resolve, reject) => {
      const cancel = this.#loop.timer(ANSWER_TIMEOUT_MS, () => {
        this.#fail(new TskataError(Code.DeadlineExceeded, `QEMU's monitor: silent for ${ANSWER_TIMEOUT_MS} ms`));
      });
      this.#waiting = {
        resolve: (line) => {
          cancel();
          resolve(line);
        },
        reject: (error) => {
          cancel();
          reject(error);
        },
      };
      if (this.#dead !== undefined) this.#fail(this.#dead);
      else this.#deliver();
    });
  }

  #read(): void {
    const buffer = new Uint8Array(4096);
    const count = this.#sys.read(this.#fd, buffer, 0, buffer.length);
    if (count === -E.EAGAIN || count === -E.EINTR) return;
    if (count <= 0) {
      this.#fail(new TskataError(Code.Unavailable, "QEMU's monitor: closed"));
      return;
    }
    const joined = new Uint8Array(this.#received.length + count);
    joined.set(this.#received);
    joined.set(buffer.subarray(0, count), this.#received.length);
    this.#received = joined;
    if (joined.length > MAX_LINE_BYTES) this.#fail(new TskataError(Code.ResourceExhausted, "QEMU's monitor: too much"));
    else this.#deliver();
  }

  #deliver(): void {
    const waiting = this.#waiting;
    const end = this.#received.indexOf(0x0a);
    if (waiting === undefined || end < 0) return;
    const line = text(this.#received.subarray(0, end));
    this.#received = this.#received.slice(end + 1);
    this.#waiting = undefined;
    waiting.resolve(line);
  }

  /** The monitor is of no use any more. */
  #fail(error: Error): void {
    if (this.#dead === undefined) {
      this.#dead = error;
      this.#loop.unwatch(this.#fd);
      close(this.#sys, this.#fd);
    }
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(error);
  }
}
