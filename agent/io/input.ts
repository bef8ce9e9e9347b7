/**
 * Owns the way from a stream to a descriptor. What the descriptor cannot take at once is held, at most one window of
 * the stream, since the peer gets credit only for what was written.
 */
import { close } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { EPOLL } from '../sys/linux.ts';
import type { Loop, Sys } from '../sys/sys.ts';

/** The receiving half of a stream of the bytes port. */
export interface InputStream {
  onData: (bytes: Uint8Array) => void;
  onEnd: () => void;
  consumed(count: number): void;
}

/** Copies until the stream's end, or until nobody reads the descriptor any more. */
export class InputPump {
  /** Runs once: everything was written after the stream's end (undefined), or writing failed (errno). */
  onFinished: (errno: number | undefined) => void = () => {};
  private readonly sys: Sys;
  private readonly loop: Loop;
  private readonly fd: number;
  private readonly stream: InputStream;
  /** Whether the descriptor is closed at the end; a terminal's is another pump's. */
  private readonly owned: boolean;
  private queue: Uint8Array[] = [];
  private streamEnded = false;
  private watching = false;
  private finished = false;

  constructor(sys: Sys, loop: Loop, fd: number, stream: InputStream, owned: boolean) {
    this.sys = sys;
    this.loop = loop;
    this.fd = fd;
    this.stream = stream;
    this.owned = owned;
    stream.onData = (bytes) => this.receive(bytes);
    stream.onEnd = () => {
      this.streamEnded = true;
      this.flush();
    };
  }

  /** Drops what is held. */
  close(): void {
    this.finish(undefined);
  }

  private receive(bytes: Uint8Array): void {
    if (this.finished) {
      this.stream.consumed(bytes.length);
      return;
    }
    let offset = 0;
    if (this.queue.length === 0) offset = this.write(bytes);
    // The array belongs to the stream: what waits is copied.
    if (!this.finished && offset < bytes.length) this.queue.push(new Uint8Array(bytes.subarray(offset)));
    this.flush();
  }

  /** Writes what goes; returns how much went. */
  private write(bytes: Uint8Array): number {
    let offset = 0;
    while (offset < bytes.length) {
      const count = this.sys.write(this.fd, bytes, offset, bytes.length - offset);
      if (count === -E.EINTR) continue;
      if (count === -E.EAGAIN) break;
      if (count < 0) {
        this.finish(-count);
        return bytes.length;
      }
      offset += count;
    }
    if (offset > 0) this.stream.consumed(offset);
    return offset;
  }

  private flush(): void {
    while (!this.finished) {
      const first = this.queue.shift();
      if (first === undefined) break;
      const count = this.write(first);
      if (count === first.length) continue;
      this.queue.unshift(first.subarray(count));
      break;
    }
    if (this.finished) return;
    if (this.queue.length > 0) this.watch();
    else if (this.streamEnded) this.finish(undefined);
    else this.unwatch();
  }

  private watch(): void {
    if (this.watching) return;
    this.watching = true;
    this.loop.watch(this.fd, EPOLL.OUT, () => this.flush());
  }

  private unwatch(): void {
    if (!this.watching) return;
    this.watching = false;
    this.loop.unwatch(this.fd);
  }

  private finish(errno: number | undefined): void {
    if (this.finished) return;
    this.finished = true;
    this.unwatch();
    let held = 0;
    for (const part of this.queue.splice(0)) held += part.length;
    if (held > 0) this.stream.consumed(held);
    if (this.owned) close(this.sys, this.fd);
    this.onFinished(errno);
  }
}
