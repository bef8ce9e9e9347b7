/**
 * The streams of the bytes port: who may send next, whom a frame belongs to, and what a peer that breaks the rules
 * costs. It holds no bytes.
 */
import { assert, Code, TskataError } from '../errors.ts';
import { MAX_STRAY_FRAMES, MAX_STREAM_BODY_BYTES, MAX_STREAMS, STALE_FRAMES_PER_STREAM } from '../limits.ts';
import type { Link } from '../link/link.ts';
import { getU32 } from '../link/record.ts';
import { bareFrame, creditFrame, decodeCredit, frameRoom, MUX_HEADER_BYTES, MuxType } from './frame.ts';
import { MuxStream, type StreamOwner } from './stream.ts';

const LAST_STREAM_ID = 0xffff_ffff;

/** What both sides share. */
abstract class Mux implements StreamOwner {
  /** The connection is over; every stream has been told. */
  onDown: (error: TskataError) => void = () => {};
  protected readonly link: Link;
  protected readonly streams = new Map<number, MuxStream>();
  /** Streams with bytes and credit, in the order in which they get their turns. */
  private ready: MuxStream[] = [];
  private readonly owing = new Set<MuxStream>();
  protected congested = false;
  private pumping = false;
  /** A record that a read found too little for; small reads share it, so that they do not cost 64 KiB each. */
  private room: Uint8Array | undefined;

  constructor(link: Link) {
    this.link = link;
    link.onPayload = (payload) => this.receive(payload);
    link.onDrain = () => this.drained();
    link.onDown = (error) => {
      const reason = TskataError.from(error ?? new TskataError(Code.Unavailable, 'streams: the connection ended'));
      this.breakAll(reason);
      this.onDown(reason);
    };
  }

  get streamCount(): number {
    return this.streams.size;
  }

  transmit(record: Uint8Array, payloadLength: number): boolean {
    if (!this.link.sendRecord(record, payloadLength)) this.congested = true;
    return !this.congested;
  }

  takeRoom(): Uint8Array {
    const room = this.room ?? frameRoom(0, MuxType.Data, MAX_STREAM_BODY_BYTES);
    this.room = undefined;
    return room;
  }

  returnRoom(record: Uint8Array): void {
    this.room = record;
  }

  recycleRoom(record: Uint8Array): void {
    if (this.link.idle === true) this.room = record;
  }

  enqueue(stream: MuxStream): void {
    this.ready.push(stream);
    this.pump();
  }

  oweGrant(stream: MuxStream): void {
    if (this.congested) this.owing.add(stream);
    else this.grant(stream);
  }

  private grant(stream: MuxStream): void {
    const count = stream.takeGrant();
    if (count > 0) this.transmit(creditFrame(stream.id, count), MUX_HEADER_BYTES + 4);
  }

  forget(stream: MuxStream, _aborted: boolean): void {
    this.owing.delete(stream);
    this.streams.delete(stream.id);
  }

  private pump(): void {
    if (this.pumping) return;
    this.pumping = true;
    try {
      while (!this.congested) {
        const stream = this.ready.shift();
        if (!stream) break;
        stream.takeTurn();
      }
    } finally {
      this.pumping = false;
    }
  }

  private drained(): void {
    this.congested = false;
    const owing = [...this.owing];
    this.owing.clear();
    // Grants first: they are small, and the peer may stand still without them.
    for (const stream of owing) this.grant(stream);
    this.pump();
  }

  protected breakAll(reason: TskataError): void {
    this.ready = [];
    this.owing.clear();
    this.congested = false;
    for (const stream of [...this.streams.values()]) stream.break(reason);
    assert(this.streams.size === 0, 'every stream is forgotten');
  }

  /** Ends the connection: every stream breaks with the reason. `onDown` is not called. */
  close(reason: TskataError): void {
    this.link.close();
    this.breakAll(reason);
  }

  private receive(payload: Uint8Array): void {
    if (payload.length < MUX_HEADER_BYTES) {
      this.link.fail(`a frame of ${payload.length} bytes on the bytes port`);
      return;
    }
    const id = getU32(payload, 0);
    const type = payload[4] as number;
    const stream = this.streams.get(id);
    if (!stream) {
      this.receiveStray(id, type);
      return;
    }
    const body = payload.subarray(MUX_HEADER_BYTES);
    const fault = stream.receive(type, body, type === MuxType.Credit ? decodeCredit(body) : 0);
    if (fault !== undefined) this.link.fail(`stream ${id}: ${fault}`);
  }

  /** A frame for a stream that is not there. */
  protected abstract receiveStray(id: number, type: number): void;
}

/** The host's side: it opens streams. */
export class HostMux extends Mux {
  private nextId = 1;
  /** Frames without a stream that may still come before the guest is given up. */
  private strayBudget = MAX_STRAY_FRAMES;

  /** A new stream. Its id goes to the guest in a call; bytes written before the guest has accepted it wait. */
  open(): MuxStream {
    if (this.streams.size >= MAX_STREAMS)
      throw new TskataError(Code.ResourceExhausted, `open stream: ${MAX_STREAMS} are open already`);
    if (this.nextId > LAST_STREAM_ID)
      throw new TskataError(Code.ResourceExhausted, 'open stream: the connection has used all its ids');
    const stream = new MuxStream(this.nextId++, this, false);
    this.streams.set(stream.id, stream);
    return stream;
  }

  override forget(stream: MuxStream, aborted: boolean): void {
    super.forget(stream, aborted);
    this.strayBudget = Math.min(this.strayBudget + STALE_FRAMES_PER_STREAM, MAX_STREAMS * STALE_FRAMES_PER_STREAM);
  }

  protected receiveStray(id: number, type: number): void {
    if (id === 0 || id >= this.nextId) {
      this.link.fail(`a frame for stream ${id}, which was never opened`);
      return;
    }
    if (--this.strayBudget < 0) {
      this.link.fail('too many frames for streams that are closed');
      return;
    }
    // The guest has only now accepted a stream that was given up here before it could be told.
    if (type === MuxType.Credit) this.transmit(bareFrame(id, MuxType.Abort), MUX_HEADER_BYTES);
  }
}

/** The guest's side: it accepts the streams that calls name. */
export class GuestMux extends Mux {
  /** Streams that we aborted; frames of theirs that were under way need no answer. The oldest are forgotten. */
  private readonly aborted = new Set<number>();

  /** The stream that a call has named. The peer may send at once: handlers must be set before the next event. */
  accept(id: number): MuxStream {
    if (id === 0 || this.streams.has(id)) throw new TskataError(Code.AlreadyExists, `accept stream: ${id} is taken`);
    if (this.streams.size >= MAX_STREAMS)
      throw new TskataError(Code.ResourceExhausted, `accept stream: ${MAX_STREAMS} are open already`);
    const stream = new MuxStream(id, this, true);
    this.streams.set(id, stream);
    this.oweGrant(stream);
    return stream;
  }

  /** A new connection: all streams of the one before are over. */
  reset(reason: TskataError): void {
    this.breakAll(reason);
    this.aborted.clear();
  }

  override forget(stream: MuxStream, aborted: boolean): void {
    super.forget(stream, aborted);
    if (!aborted) return;
    this.aborted.add(stream.id);
    if (this.aborted.size > MAX_STREAMS)
      for (const oldest of this.aborted) {
        this.aborted.delete(oldest);
        break;
      }
  }

  protected receiveStray(id: number, type: number): void {
    if (type === MuxType.Abort || type === MuxType.Credit || this.aborted.has(id) || this.congested) return;
    this.transmit(bareFrame(id, MuxType.Abort), MUX_HEADER_BYTES);
  }
}
