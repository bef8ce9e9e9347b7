/**
 * Channels in memory, for tests of everything above a Channel: fragments, delays and cuts at chosen bytes.
 *
 * `memoryPair` is a socket pair. `MemoryPort` is a virtio-serial port: its guest end outlives the connections of the
 * host, and what the host's last connection had not delivered is lost from a byte that the test chooses.
 */
import type { Channel } from './channel.ts';

export interface MemoryOptions {
  /** Sizes of the pieces in which bytes arrive; asked once per piece. Default: as they were written. */
  readonly fragment?: () => number;
  /** Runs a delivery later. The default is a promise job. */
  readonly defer?: (run: () => void) => void;
  /** Queued bytes from which on `write` returns false. */
  readonly highWaterBytes?: number;
}

const nothing = (): void => {};

/** One end. `peer` is where its bytes go. */
export class MemoryEnd implements Channel {
  onData: (bytes: Uint8Array) => void = nothing;
  onDrain: () => void = nothing;
  onEnd: (error?: Error) => void = nothing;
  peer: MemoryEnd | undefined;
  private readonly options: MemoryOptions;
  private queue: Uint8Array[] = [];
  private queuedBytes = 0;
  private congested = false;
  private reading = true;
  private closed = false;
  private scheduled = false;
  /** The peer has closed; told when everything was delivered. */
  private ending = false;

  constructor(options: MemoryOptions) {
    this.options = options;
  }

  /** Bytes that were written and have not arrived. */
  get pendingBytes(): number {
    return this.queuedBytes;
  }

  write(bytes: Uint8Array): boolean {
    if (this.closed || bytes.length === 0) return !this.congested;
    this.queue.push(bytes);
    this.queuedBytes += bytes.length;
    this.congested ||= this.queuedBytes >= (this.options.highWaterBytes ?? 256 * 1024);
    this.schedule();
    return !this.congested;
  }

  setReading(reading: boolean): void {
    this.reading = reading;
    if (reading) this.peer?.schedule();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.peer) {
      this.ending = true;
      this.schedule();
    }
  }

  /** Delivers at most `count` of the bytes under way at once, whatever the reader wants, and loses the rest. */
  cut(count: number): void {
    let left = count;
    while (left > 0 && this.queuedBytes > 0) left -= this.deliverPiece(left);
    this.queue = [];
    this.queuedBytes = 0;
  }

  /** Drops what has not been delivered. */
  discard(): void {
    this.queue = [];
    this.queuedBytes = 0;
    this.relieve();
  }

  schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    const defer = this.options.defer ?? ((run) => void Promise.resolve().then(run));
    defer(() => {
      this.scheduled = false;
      this.step();
    });
  }

  private step(): void {
    const peer = this.peer;
    if (!peer?.reading) return;
    if (this.queuedBytes > 0) {
      this.deliverPiece(this.options.fragment?.() ?? this.queuedBytes);
      this.relieve();
    }
    if (this.queuedBytes > 0) this.schedule();
    else if (this.ending) {
      this.ending = false;
      if (!peer.closed) peer.onEnd();
    }
  }

  private relieve(): void {
    if (!this.congested || this.queuedBytes > 0) return;
    this.congested = false;
    if (!this.closed) this.onDrain();
  }

  private deliverPiece(limit: number): number {
    const first = this.queue[0] as Uint8Array;
    const count = Math.max(1, Math.min(limit, first.length));
    if (count === first.length) this.queue.shift();
    else this.queue[0] = first.subarray(count);
    this.queuedBytes -= count;
    // A copy, overwritten afterwards: the array of onData is only valid during the call, and a user that keeps it fails.
    const piece = first.slice(0, count);
    if (this.peer && !this.peer.closed) this.peer.onData(piece);
    piece.fill(0xdd);
    return count;
  }
}

/** Two connected ends. */
export function memoryPair(options: MemoryOptions = {}): readonly [MemoryEnd, MemoryEnd] {
  const left = new MemoryEnd(options);
  const right = new MemoryEnd(options);
  left.peer = right;
  right.peer = left;
  return [left, right];
}

/** A port whose guest end stays while the host's come and go. */
export class MemoryPort {
  readonly guest: MemoryEnd;
  private readonly options: MemoryOptions;
  private host: MemoryEnd | undefined;

  constructor(options: MemoryOptions = {}) {
    this.options = options;
    this.guest = new MemoryEnd(options);
  }

  /** Bytes of the host's that have not arrived. */
  get underway(): number {
    return this.host?.pendingBytes ?? 0;
  }

  /** A new connection of the host. The guest notices nothing. */
  connect(): MemoryEnd {
    const host = new MemoryEnd(this.options);
    this.host = host;
    host.peer = this.guest;
    this.guest.peer = host;
    this.guest.schedule();
    return host;
  }

  /**
   * Ends the host's connection: of what was under way, the guest still gets `toGuest` bytes and the host `toHost`. What
   * the guest had under way beyond that is lost when `loseRest` is set, and comes out of the next connection otherwise.
   */
  cut(toGuest: number, toHost: number, loseRest: boolean): void {
    const host = this.host;
    if (!host) return;
    this.host = undefined;
    host.cut(toGuest);
    host.peer = undefined;
    if (loseRest) this.guest.cut(toHost);
    this.guest.peer = undefined;
    host.onEnd();
  }
}
