/**
 * What both ends of a port offer to what runs on it: records in order, within one epoch. `guest.ts` and `host.ts`
 * implement it; `LinkPipe` puts ttrpc on it, `../mux/` the streams.
 */
import type { Channel } from '../channel.ts';
import { TTRPC_HEADER_BYTES } from '../limits.ts';
import { decodeHeader, type FrameHeader } from '../ttrpc/frame.ts';
import type { FramePipe } from '../ttrpc/pipe.ts';
import { Kind, putHeader, putU32, RECORD_HEADER_BYTES, RECORD_OVERHEAD_BYTES } from './record.ts';

export interface Link {
  readonly maxPayloadBytes: number;
  /** Set by the user. The payload is only valid during the call. */
  onPayload: (payload: Uint8Array) => void;
  onDrain: () => void;
  /** The connection is over, for good on the host; in the guest until the next reset. */
  onDown: (error?: Error) => void;
  /** Copies the parts into one record and sends it. False: congested until `onDrain`. Ignored while down. */
  send(first: Uint8Array, second: Uint8Array): boolean;
  /** Sends a record that the caller has laid out with `recordRoom`, without a copy. The link owns the buffer. */
  sendRecord(record: Uint8Array, payloadLength: number): boolean;
  /** Nothing that was sent is held any more, so that its buffers may be used again. */
  readonly idle?: boolean;
  setReading(reading: boolean): void;
  /** Gives the connection up because of what the peer did. */
  fail(fact: string): void;
  close(): void;
}

const nothing = (): void => {};

/** A buffer for `sendRecord` whose payload begins at RECORD_HEADER_BYTES. */
export function recordRoom(payloadLength: number): Uint8Array {
  return new Uint8Array(payloadLength + RECORD_OVERHEAD_BYTES);
}

/** The sending half, which both ends share. */
export class RecordSender {
  private readonly channel: Channel;
  /** The epoch of what is sent; 0 while down. */
  epoch = 0;

  constructor(channel: Channel) {
    this.channel = channel;
  }

  send(first: Uint8Array, second: Uint8Array): boolean {
    const record = recordRoom(first.length + second.length);
    record.set(first, RECORD_HEADER_BYTES);
    record.set(second, RECORD_HEADER_BYTES + first.length);
    return this.sendRecord(record, first.length + second.length);
  }

  sendRecord(record: Uint8Array, payloadLength: number): boolean {
    if (this.epoch === 0) return true;
    putHeader(record, Kind.Data, payloadLength);
    putU32(record, RECORD_HEADER_BYTES + payloadLength, this.epoch);
    const whole = payloadLength + RECORD_OVERHEAD_BYTES;
    return this.channel.write(whole === record.length ? record : record.subarray(0, whole));
  }
}

/** ttrpc on a link: one frame is the payload of one record. */
export class LinkPipe implements FramePipe {
  readonly maxMessageBytes: number;
  onFrame: FramePipe['onFrame'] = nothing;
  /** Never called: a record that is too large ends the connection. */
  onOversized: (header: FrameHeader) => void = nothing;
  onDrain: () => void = nothing;
  onEnd: (error?: Error) => void = nothing;
  private readonly link: Link;

  constructor(link: Link) {
    this.link = link;
    this.maxMessageBytes = link.maxPayloadBytes - TTRPC_HEADER_BYTES;
    link.onPayload = (payload) => this.receive(payload);
    link.onDrain = () => this.onDrain();
    link.onDown = (error) => this.onEnd(error);
  }

  send(header: Uint8Array, message: Uint8Array): boolean {
    return this.link.send(header, message);
  }

  setReading(reading: boolean): void {
    this.link.setReading(reading);
  }

  fail(fact: string): void {
    this.link.fail(fact);
  }

  close(): void {
    this.link.close();
  }

  private receive(payload: Uint8Array): void {
    const header = payload.length < TTRPC_HEADER_BYTES ? undefined : decodeHeader(payload, 0);
    if (header?.length === payload.length - TTRPC_HEADER_BYTES)
      this.onFrame(header, payload.subarray(TTRPC_HEADER_BYTES));
    else this.link.fail(`a record of ${payload.length} bytes is not one frame`);
  }
}
