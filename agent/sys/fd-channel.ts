/**
 * Owns the `Channel` of the protocol on a descriptor of the loop: a socket, a pipe, a virtio-serial port. Knows no
 * protocol.
 */
import type { Channel } from '../protocol/channel.ts';
import { close, setNonBlocking } from './calls.ts';
import { E } from './errno.ts';
import { SysError } from './errors.ts';
import { EPOLL } from './linux.ts';
import type { Loop, Sys } from './sys.ts';

const READ_BYTES = 64 * 1024;
/** What Linux gives and takes in one read and write of a virtio-serial port. */
const PORT_READ_BYTES = 4 * 1024;
const PORT_WRITE_BYTES = 32 * 1024;
/** Queued bytes from which on `write` asks its caller to wait, and below which it is called again. */
const HIGH_WATER_BYTES = 256 * 1024;
const LOW_WATER_BYTES = HIGH_WATER_BYTES / 2;
/** Full buffers read in one turn before other descriptors have theirs. */
const READS_PER_TURN = 8;

/** How a channel behaves. */
export interface FdChannelOptions {
  /** For error messages: "control port". */
  readonly name?: string;
  /**
   * A virtio-serial port: end of file only says that nobody is on the host's side just now, so it is no end. Such a
   * port is ready (hung up) all the time meanwhile, so its events are edges.
   */
  readonly port?: boolean;
}

/** Owns `fd` from here on: made non-blocking, closed with the channel. All channels of one process share a buffer. */
export class FdChannel implements Channel {
  onData: (bytes: Uint8Array) => void = () => {};
  onDrain: () => void = () => {};
  onEnd: (error?: Error) => void = () => {};
  readonly #sys: Sys;
  readonly #loop: Loop;
  readonly #fd: number;
  readonly #name: string;
  readonly #edge: number;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #offset = 0;
  #reading = true;
  #open = true;
  #full = false;
  #watched: number;
  #resuming = false;

  constructor(sys: Sys, loop: Loop, fd: number, options: FdChannelOptions = {}) {
    this.#sys = sys;
    this.#loop = loop;
    this.#fd = fd;
    this.#name = options.name ?? 'connection';
    this.#edge = options.port === true ? EDGE : 0;
    // Edges tell of both directions at once, so that nothing is to be changed later.
    this.#watched = this.#edge === 0 ? EPOLL.IN : (EPOLL.IN | EPOLL.OUT | this.#edge) >>> 0;
    setNonBlocking(sys, fd);
    loop.watch(fd, this.#watched, (events) => this.#ready(events));
  }

  get idle(): boolean {
    return this.#queue.length === 0;
  }

  write(bytes: Uint8Array): boolean {
    if (!this.#open || bytes.length === 0) return true;
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    if (this.#queue.length === 1) this.#flush();
    if (this.#queuedBytes >= HIGH_WATER_BYTES) this.#full = true;
    return !this.#full;
  }

  setReading(reading: boolean): void {
    if (this.#reading === reading) return;
    this.#reading = reading;
    this.#update();
    // The edge that announced what waits here may be long gone.
    if (reading && this.#edge !== 0) this.#resume();
  }

  close(): void {
    this.#release();
  }

  discard(): void {
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#offset = 0;
    this.#update();
    if (!this.#full) return;
    this.#full = false;
    this.onDrain();
  }

  #ready(events: number): void {
    if (events & EPOLL.OUT) this.#flush();
    const hangup = events & (EPOLL.HUP | EPOLL.ERR);
    if (this.#open && this.#reading && (events & EPOLL.IN || hangup)) this.#read();
    // With reading stopped, nothing else would notice that the peer is gone.
    else if (this.#open && hangup && this.#edge === 0) this.#end();
  }

  /** Fills the buffer from as many reads as it takes: a port gives what came as one piece in one. */
  #read(): void {
    const buffer = shared();
    for (let turn = 0; turn < READS_PER_TURN; turn++) {
      let length = 0;
      let result = 0;
      while (length < READ_BYTES) {
        result =
          this.#edge === 0
            ? this.#sys.read(this.#fd, buffer, length, READ_BYTES - length)
            : this.#sys.readPieces(this.#fd, buffer, length, READ_BYTES - length, PORT_READ_BYTES);
        if (result <= 0) break;
        length += result;
        if (this.#edge === 0) break;
      }
      if (length > 0) this.onData(buffer.subarray(0, length));
      if (!this.#open || !this.#reading) return;
      if (result === 0) {
        if (this.#edge === 0) this.#end();
        return;
      }
      if (result < 0) {
        if (result !== -E.EAGAIN && result !== -E.EINTR) this.#end(new SysError('read', this.#name, -result));
        return;
      }
      // Level-triggered: whatever is left is announced again.
      if (this.#edge === 0) return;
    }
    this.#resume();
  }

  /** Goes on reading in a later turn. */
  #resume(): void {
    if (this.#resuming) return;
    this.#resuming = true;
    this.#loop.timer(0, () => {
      this.#resuming = false;
      if (this.#open && this.#reading) this.#read();
    });
  }

  #flush(): void {
    while (this.#open && this.#queue.length > 0) {
      const count = this.#writeSome();
      if (count === -E.EINTR) continue;
      if (count === -E.EAGAIN) break;
      if (count < 0) {
        this.#end(new SysError('write', this.#name, -count));
        return;
      }
      this.#consume(count);
    }
    this.#update();
    if (this.#full && this.#queuedBytes <= LOW_WATER_BYTES) {
      this.#full = false;
      this.onDrain();
    }
  }

  /** One write of the first two queued arrays: a header and its body go without a copy. A port's come as one. */
  #writeSome(): number {
    const [first, second] = this.#queue;
    if (first === undefined) return 0;
    if (this.#edge !== 0) {
      const length = first.length - this.#offset;
      return this.#sys.writePieces(this.#fd, first, this.#offset, length, PORT_WRITE_BYTES);
    }
    if (second === undefined) return this.#sys.write(this.#fd, first, this.#offset, first.length - this.#offset);
    return this.#sys.write2(this.#fd, this.#offset === 0 ? first : first.subarray(this.#offset), second);
  }

  #consume(count: number): void {
    this.#queuedBytes -= count;
    this.#offset += count;
    for (let head = this.#queue[0]; head !== undefined && this.#offset >= head.length; head = this.#queue[0]) {
      this.#offset -= head.length;
      this.#queue.shift();
    }
  }

  #update(): void {
    if (!this.#open || this.#edge !== 0) return;
    const wanted = (this.#reading ? EPOLL.IN : 0) | (this.#queue.length > 0 ? EPOLL.OUT : 0);
    if (wanted === this.#watched) return;
    this.#watched = wanted;
    this.#loop.rewatch(this.#fd, wanted);
  }

  #end(error?: Error): void {
    if (!this.#release()) return;
    this.onEnd(error);
  }

  #release(): boolean {
    if (!this.#open) return false;
    this.#open = false;
    this.#loop.unwatch(this.#fd);
    close(this.#sys, this.#fd);
    this.#queue = [];
    this.#queuedBytes = 0;
    return true;
  }
}

/** EPOLLET. */
const EDGE = 0x80000000;

let sharedBuffer: Uint8Array | undefined;

/** Made at the first use; data is only valid during `onData`, so one is enough. */
function shared(): Uint8Array {
  sharedBuffer ??= new Uint8Array(READ_BYTES);
  return sharedBuffer;
}
