/**
 * One ordered flow in each direction on the bytes port. Its bytes are never held here: they are handed on as they come,
 * and are asked for when they can be sent. It knows neither pipes nor sockets.
 */
import { assert, Code, TskataError } from '../errors.ts';
import { MAX_STREAM_BODY_BYTES, STREAM_GRANT_BYTES, STREAM_WINDOW_BYTES } from '../limits.ts';
import { BODY_OFFSET, bareFrame, frameRoom, MUX_HEADER_BYTES, MuxType, putFrameHeader } from './frame.ts';

/** What a stream needs of its mux. */
export interface StreamOwner {
  /** Sends a record of the stream's; false when congested. */
  transmit(record: Uint8Array, payloadLength: number): boolean;
  /** A record with room for the largest body, for the length of a read; `returnRoom` unless it was sent. */
  takeRoom(): Uint8Array;
  returnRoom(record: Uint8Array): void;
  /** The record was sent: it is room again when nobody holds it any more. */
  recycleRoom(record: Uint8Array): void;
  /** The stream has bytes to send and credit for them. */
  enqueue(stream: MuxStream): void;
  /** The stream owes the peer a grant. */
  oweGrant(stream: MuxStream): void;
  /** Both directions have ended, or the stream was aborted. */
  forget(stream: MuxStream, aborted: boolean): void;
}

/** Frames with at least so many bytes are sent in the record that they were read into; others are copied out of it. */
const KEEP_ROOM_BYTES = MAX_STREAM_BODY_BYTES / 8;

const nothing = (): void => {};

export class MuxStream {
  readonly id: number;
  /** Bytes of the peer's, valid only during the call. `consumed` tells when they need no room any more. */
  onData: (bytes: Uint8Array) => void = nothing;
  /** The peer will send no more. All its bytes came before. */
  onEnd: () => void = nothing;
  /** The stream broke: the peer aborted it, or the connection is over. Called at most once, and nothing after it. */
  onAbort: (error: TskataError) => void = nothing;
  private readonly owner: StreamOwner;
  /** What the peer lets us send. */
  private credit: number;
  /** What we let the peer send. */
  private window: number;
  /** Consumed and not granted again yet. */
  private ungranted = 0;
  private waiter: ((maxBytes: number) => void) | undefined;
  /** What it waits for. */
  private leastCredit = 1;
  private queued = false;
  /** The peer has registered the stream: nothing may be sent before. */
  private open: boolean;
  private localEnd: 'none' | 'wanted' | 'sent' = 'none';
  private peerEnded = false;
  private dead = false;

  /**
   * `accepted`: made by the guest, for an id that the host chose; it may send at once. The host's end may send when the
   * guest's first grant has come.
   */
  constructor(id: number, owner: StreamOwner, accepted: boolean) {
    this.id = id;
    this.owner = owner;
    this.open = accepted;
    this.credit = accepted ? STREAM_WINDOW_BYTES : 0;
    this.window = accepted ? 0 : STREAM_WINDOW_BYTES;
    if (accepted) this.ungranted = STREAM_WINDOW_BYTES;
  }

  /** No further bytes can be sent: it was ended or aborted. */
  get closed(): boolean {
    return this.dead || this.localEnd !== 'none';
  }

  /**
   * Calls `ready` once, when bytes can be sent, with how many. It must send (or not) during the call. One at a time;
   * streams that wait take turns, a frame each. `atLeast`: fewer bytes are of no use, as to a datagram.
   */
  whenWritable(ready: (maxBytes: number) => void, atLeast = 1): void {
    if (this.closed) return;
    assert(this.waiter === undefined, 'a stream has one waiting writer');
    assert(atLeast > 0 && atLeast <= MAX_STREAM_BODY_BYTES, 'a frame can hold what is waited for');
    this.waiter = ready;
    this.leastCredit = atLeast;
    this.tryQueue();
  }

  private tryQueue(): void {
    if (this.queued || this.waiter === undefined || this.credit < this.leastCredit || this.dead) return;
    this.queued = true;
    this.owner.enqueue(this);
  }

  /** For the mux: this stream's turn. */
  takeTurn(): void {
    this.queued = false;
    const { waiter } = this;
    this.waiter = undefined;
    if (waiter && !this.dead) waiter(Math.min(this.credit, MAX_STREAM_BODY_BYTES));
  }

  /** Sends at most what `whenWritable` said. The bytes are copied. */
  send(bytes: Uint8Array): void {
    if (this.closed || bytes.length === 0) return;
    this.check(bytes.length);
    const record = frameRoom(this.id, MuxType.Data, bytes.length);
    record.set(bytes, BODY_OFFSET);
    this.sendData(record, bytes.length);
  }

  /** Like `send`, but `read` puts the bytes straight into the frame. Returns what `read` did: a count, or <= 0 for none. */
  sendFrom(maxBytes: number, read: (buffer: Uint8Array, offset: number, length: number) => number): number {
    if (this.closed) return 0;
    this.check(maxBytes);
    const record = this.owner.takeRoom();
    const count = read(record, BODY_OFFSET, maxBytes);
    if (count >= KEEP_ROOM_BYTES) {
      putFrameHeader(record, this.id, MuxType.Data);
      this.sendData(record, count);
      this.owner.recycleRoom(record);
      return count;
    }
    this.owner.returnRoom(record);
    if (count > 0) this.send(record.subarray(BODY_OFFSET, BODY_OFFSET + count));
    return count;
  }

  private check(count: number): void {
    assert(count <= this.credit && count <= MAX_STREAM_BODY_BYTES, 'a stream sends within its credit');
  }

  private sendData(record: Uint8Array, count: number): void {
    this.credit -= count;
    this.owner.transmit(record, MUX_HEADER_BYTES + count);
  }

  /** Bytes of `onData` have been passed on; the peer may send as many again. */
  consumed(count: number): void {
    if (this.dead) return;
    this.ungranted += count;
    if (this.ungranted >= STREAM_GRANT_BYTES && !this.peerEnded) this.owner.oweGrant(this);
  }

  /** For the mux: the grant that is due, 0 for none. */
  takeGrant(): number {
    const count = this.dead || this.peerEnded ? 0 : this.ungranted;
    this.ungranted = 0;
    this.window += count;
    return count;
  }

  /** Says that nothing more comes. What was sent before arrives before. */
  end(): void {
    if (this.closed) return;
    this.localEnd = 'wanted';
    this.waiter = undefined;
    if (this.open) this.sendEnd();
  }

  private sendEnd(): void {
    this.localEnd = 'sent';
    this.owner.transmit(bareFrame(this.id, MuxType.End), MUX_HEADER_BYTES);
    if (this.peerEnded) this.die(false);
  }

  /** Gives both directions up at once. `onAbort` is not called. */
  abort(): void {
    if (this.dead) return;
    if (this.open) this.owner.transmit(bareFrame(this.id, MuxType.Abort), MUX_HEADER_BYTES);
    this.die(true);
  }

  private die(aborted: boolean): void {
    this.dead = true;
    this.waiter = undefined;
    this.owner.forget(this, aborted);
  }

  /** For the mux: the stream is over without a word to the peer. */
  break(error: TskataError): void {
    if (this.dead) return;
    this.die(true);
    this.onAbort(error);
  }

  /** For the mux: a frame of the peer's. Returns what is wrong with it, if anything. */
  receive(type: number, body: Uint8Array, credit: number): string | undefined {
    if (type === MuxType.Data) return this.receiveData(body);
    if (type === MuxType.Credit) return this.receiveCredit(credit);
    if (body.length > 0) return 'an end or abort with a body';
    if (type === MuxType.Abort) {
      this.break(new TskataError(Code.Aborted, `stream ${this.id}: the other side gave it up`));
      return undefined;
    }
    if (type !== MuxType.End) return `a frame of type ${type}`;
    if (this.peerEnded) return 'a second end';
    this.peerEnded = true;
    if (this.localEnd === 'sent') this.die(false);
    this.onEnd();
    return undefined;
  }

  private receiveData(body: Uint8Array): string | undefined {
    if (body.length === 0 || body.length > MAX_STREAM_BODY_BYTES) return `a body of ${body.length} bytes`;
    if (this.peerEnded) return 'data after the end';
    if (body.length > this.window) return `${body.length} bytes where ${this.window} were granted`;
    this.window -= body.length;
    this.onData(body);
    return undefined;
  }

  private receiveCredit(count: number): string | undefined {
    if (count === 0 || this.credit + count > STREAM_WINDOW_BYTES)
      return `a grant of ${count} bytes on top of ${this.credit}`;
    this.credit += count;
    this.open = true;
    if (this.localEnd === 'wanted') this.sendEnd();
    else this.tryQueue();
    return undefined;
  }
}
