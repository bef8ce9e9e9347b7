/**
 * A Channel over a stream descriptor on the native loop. Knows no protocol.
 */
import type { Channel } from '../../agent/protocol/channel.ts';
import { close, setNonBlocking } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { SysError } from '../../agent/sys/errors.ts';
import { EPOLL } from '../../agent/sys/linux.ts';
import type { Loop, Sys } from '../../agent/sys/sys.ts';

const READ_BYTES = 64 * 1024;

/** Queued bytes from which on `write` asks its caller to wait. */
const HIGH_WATER_BYTES = 256 * 1024;

/** Owns `fd` from here on: made non-blocking, closed with the channel. */
export class FdChannel implements Channel {
  onData: (bytes: Uint8Array) => void = () => {};
  onDrain: () => void = () => {};
  onEnd: (error?: Error) => void = () => {};
  readonly #sys: Sys;
  readonly #loop: Loop;
  readonly #fd: number;
  readonly #buffer = new Uint8Array(READ_BYTES);
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #offset = 0;
  #reading = true;
  #open = true;
  #full = false;

  constructor(sys: Sys, loop: Loop, fd: number) {
    this.#sys = sys;
    this.#loop = loop;
    this.#fd = fd;
    setNonBlocking(sys, fd);
    loop.watch(fd, EPOLL.IN, (events) => this.#ready(events));
  }

  write(bytes: Uint8Array): boolean {
    if (!this.#open) return true;
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    if (this.#queue.length === 1) this.#flush();
    this.#full = this.#queuedBytes >= HIGH_WATER_BYTES;
    return !this.#full;
  }

  setReading(reading: boolean): void {
    this.#reading = reading;
    this.#update();
  }

  close(): void {
    this.#end();
  }

  #ready(events: number): void {
    if (events & EPOLL.OUT) this.#flush();
    if (this.#open && this.#reading && events & (EPOLL.IN | EPOLL.HUP | EPOLL.ERR)) this.#read();
    // With reading stopped, nothing else would notice that the peer is gone.
    else if (this.#open && !this.#reading && events & (EPOLL.HUP | EPOLL.ERR)) this.#end();
  }

  #read(): void {
    const count = this.#sys.read(this.#fd, this.#buffer, 0, READ_BYTES);
    if (count > 0) this.onData(this.#buffer.subarray(0, count));
    else if (count === 0) this.#end();
    else if (count !== -E.EAGAIN && count !== -E.EINTR) this.#end(new SysError('read', 'connection', -count));
  }

  #flush(): void {
    while (this.#open && this.#queue.length > 0) {
      const head = this.#queue[0];
      if (head === undefined) break;
      const count = this.#sys.write(this.#fd, head, this.#offset, head.length - this.#offset);
      if (count === -E.EINTR) continue;
      if (count === -E.EAGAIN) break;
      if (count < 0) {
        this.#end(new SysError('write', 'connection', -count));
        return;
      }
      this.#offset += count;
      this.#queuedBytes -= count;
      if (this.#offset === head.length) {
        this.#queue.shift();
        this.#offset = 0;
      }
    }
    this.#update();
    if (this.#full && this.#queuedBytes < HIGH_WATER_BYTES / 2) {
      this.#full = false;
      this.onDrain();
    }
  }

  #update(): void {
    if (!this.#open) return;
    this.#loop.rewatch(this.#fd, (this.#reading ? EPOLL.IN : 0) | (this.#queue.length > 0 ? EPOLL.OUT : 0));
  }

  #end(error?: Error): void {
    if (!this.#open) return;
    this.#open = false;
    this.#loop.unwatch(this.#fd);
    close(this.#sys, this.#fd);
    this.#queue = [];
    this.onEnd(error);
  }
}
