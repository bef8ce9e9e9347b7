/**
 * Owns the way from a descriptor (pipe, terminal, socket) to a stream: bytes are read when the stream may send them, so
 * nothing is held here and a slow reader slows only its own writer. A stream that breaks is replaced by nothing: what
 * comes is then thrown away, so that the writer is not stopped by a vanished reader.
 */
import { close } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { EPOLL, IOCTL } from '../sys/linux.ts';
import { viewOf } from '../sys/structs.ts';
import type { Loop, Sys } from '../sys/sys.ts';
import { SYS } from '../sys/syscalls.ts';

/** The sending half of a stream of the bytes port. */
export interface OutputStream {
  whenWritable(ready: (maxBytes: number) => void, atLeast?: number): void;
  send(bytes: Uint8Array): void;
  sendFrom(maxBytes: number, read: (buffer: Uint8Array, offset: number, length: number) => number): number;
  end(): void;
  abort(): void;
}

/** What a terminal may hold between a write and a read: its flip buffers and the line discipline's. */
const TERMINAL_TAIL_BYTES = 128 * 1024;
/** The longest datagram that the kernel gives (UDP over IPv6); a read of fewer bytes would cut it off. */
const MAX_DATAGRAM_BYTES = 65_527;
const DISCARD_BYTES = 16 * 1024;

/** Copies until the end of the descriptor, which it owns. */
export class OutputPump {
  /** Runs once, when the descriptor has ended or was given up. */
  onFinished: () => void = () => {};
  private readonly sys: Sys;
  private readonly loop: Loop;
  private readonly fd: number;
  private stream: OutputStream | undefined;
  private copied = 0;
  /** Read ahead at the end of a process: see `settle`. */
  private tail: Uint8Array[] = [];
  private watching = false;
  /** The stream will say when it takes more. */
  private waiting = false;
  private ended = false;
  private finished = false;

  /** A read of nothing is the end, but for datagrams: an empty one is what no stream can carry, and is dropped. */
  private readonly emptyIsEnd: boolean;
  /** What the stream must take at once. */
  private readonly leastBytes: number;

  constructor(
    sys: Sys,
    loop: Loop,
    fd: number,
    stream: OutputStream | undefined,
    kind: 'bytes' | 'datagrams' = 'bytes',
  ) {
    this.emptyIsEnd = kind === 'bytes';
    this.leastBytes = kind === 'bytes' ? 1 : MAX_DATAGRAM_BYTES;
    this.sys = sys;
    this.loop = loop;
    this.fd = fd;
    this.stream = stream;
    this.watch();
  }

  get isFinished(): boolean {
    return this.finished;
  }

  /** The stream broke. */
  dropStream(): void {
    this.stream = undefined;
    for (const part of this.tail.splice(0)) this.copied += part.length;
    if (!this.finished) this.watch();
  }

  /** Bytes of a pipe that were copied or are still in it: what was written up to now. */
  countPipe(): number {
    return this.copied + (this.finished ? 0 : this.available());
  }

  /**
   * Bytes of a terminal that were written up to now. The kernel cannot count what is on its way through a terminal, so
   * it is read ahead, up to a bound.
   */
  countTerminal(): number {
    let held = 0;
    for (const part of this.tail) held += part.length;
    while (!this.finished && !this.ended && held < TERMINAL_TAIL_BYTES) {
      const buffer = new Uint8Array(4096);
      const length = this.sys.read(this.fd, buffer, 0, buffer.length);
      if (length === -E.EINTR) continue;
      if (length <= 0) {
        this.ended ||= length !== -E.EAGAIN;
        break;
      }
      this.tail.push(buffer.subarray(0, length));
      held += length;
    }
    // Before anything is sent: the stream may take it at once, and then it would be counted twice.
    const written = this.copied + held;
    if (held > 0) this.waitForStream();
    else if (this.ended) this.finish();
    return written;
  }

  /** Gives the descriptor up. */
  close(): void {
    if (this.finished) return;
    this.stream?.abort();
    this.stream = undefined;
    this.finish();
  }

  private available(): number {
    const count = new Uint8Array(4);
    return this.sys.call(SYS.ioctl, this.fd, IOCTL.FIONREAD, count) < 0 ? 0 : viewOf(count).getInt32(0, true);
  }

  private watch(): void {
    if (this.watching) return;
    this.watching = true;
    this.loop.watch(this.fd, EPOLL.IN, () => this.readable());
  }

  /** Not merely masked: a hang-up is reported whatever the mask. */
  private unwatch(): void {
    if (!this.watching) return;
    this.watching = false;
    this.loop.unwatch(this.fd);
  }

  private readable(): void {
    if (this.stream === undefined) {
      this.discard();
      return;
    }
    this.waitForStream();
  }

  private waitForStream(): void {
    const { stream } = this;
    if (stream === undefined) {
      this.dropStream();
      return;
    }
    if (this.waiting) return;
    this.waiting = true;
    stream.whenWritable((maxBytes) => {
      this.waiting = false;
      if (!this.finished) this.copy(stream, maxBytes);
    }, this.leastBytes);
    // Mostly it was written at once, and the watch can stay: two calls of the kernel less for each piece.
    if (this.waiting) this.unwatch();
  }

  private copy(stream: OutputStream, maxBytes: number): void {
    const part = this.tail.shift();
    if (part !== undefined) {
      const now = part.subarray(0, maxBytes);
      if (now.length < part.length) this.tail.unshift(part.subarray(now.length));
      this.copied += now.length;
      stream.send(now);
      this.goOn();
      return;
    }
    const count = stream.sendFrom(maxBytes, (buffer, offset, length) => this.sys.read(this.fd, buffer, offset, length));
    if (count > 0) this.copied += count;
    else if (this.isEnd(count)) this.ended = true;
    this.goOn();
  }

  private goOn(): void {
    if (this.tail.length > 0) this.waitForStream();
    else if (this.ended) this.finish();
    else this.watch();
  }

  private discard(): void {
    const buffer = new Uint8Array(DISCARD_BYTES);
    const length = this.sys.read(this.fd, buffer, 0, buffer.length);
    if (length > 0) this.copied += length;
    else if (this.isEnd(length)) this.finish();
  }

  /** Whether nothing comes after a read that gave no bytes. */
  private isEnd(result: number): boolean {
    return result === 0 ? this.emptyIsEnd : result !== -E.EAGAIN && result !== -E.EINTR;
  }

  private finish(): void {
    if (this.finished) return;
    this.finished = true;
    this.unwatch();
    close(this.sys, this.fd);
    this.stream?.end();
    this.onFinished();
  }
}
