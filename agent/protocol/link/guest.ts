/**
 * The guest's end of a port: it is up from a reset of the host's to the next one, and answers each. The host may vanish
 * at any byte and come back; what was half sent is completed by the new connection's padding and dropped by its tag.
 * It knows no calls and no streams.
 */
import type { Channel } from '../channel.ts';
import { Code, TskataError } from '../errors.ts';
import { type Link, RecordSender } from './link.ts';
import { decodeReset, encodeAck, Finder, Kind, RecordReader, resetPrefix } from './record.ts';

const nothing = (): void => {};

export class GuestLink implements Link {
  readonly maxPayloadBytes: number;
  onPayload: (payload: Uint8Array) => void = nothing;
  onDrain: () => void = nothing;
  onDown: (error?: Error) => void = nothing;
  /** A new connection begins: everything of the one before must be forgotten before this returns. */
  onReset: () => void = nothing;
  /** Records that were dropped because their tag was not the epoch. */
  dropped = 0;
  private readonly channel: Channel;
  private readonly sender: RecordSender;
  private readonly reader: RecordReader;
  /** Set while everything up to a reset is discarded. */
  private finder: Finder | undefined;
  private padding = false;

  constructor(channel: Channel, maxPayloadBytes: number) {
    this.channel = channel;
    this.maxPayloadBytes = maxPayloadBytes;
    this.sender = new RecordSender(channel);
    this.reader = new RecordReader(maxPayloadBytes, this);
    channel.onData = (bytes) => this.receive(bytes);
    channel.onDrain = () => this.onDrain();
    channel.onEnd = (error) => this.down(error);
    channel.setReading(true);
  }

  send(first: Uint8Array, second: Uint8Array): boolean {
    return this.sender.send(first, second);
  }

  sendRecord(record: Uint8Array, payloadLength: number): boolean {
    return this.sender.sendRecord(record, payloadLength);
  }

  get idle(): boolean {
    return this.channel.idle === true;
  }

  setReading(reading: boolean): void {
    this.channel.setReading(reading);
  }

  /** Ignores the host until its next reset. */
  fail(fact: string): void {
    this.lose();
    this.down(new TskataError(Code.DataLoss, `link: ${fact}`));
  }

  close(): void {
    this.sender.epoch = 0;
    this.channel.close();
  }

  private down(error?: Error): void {
    if (this.sender.epoch === 0) return;
    this.sender.epoch = 0;
    this.onDown(error);
  }

  private lose(): void {
    this.reader.clear();
    this.finder = new Finder(resetPrefix());
  }

  get active(): boolean {
    return !this.padding && this.finder === undefined;
  }

  private receive(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.padding) at = this.skipPadding(bytes, at);
      else if (this.finder) at = this.search(this.finder, bytes, at);
      else at = this.reader.feed(bytes, at);
    }
  }

  /** Zero bytes are padding, and nothing but a reset follows padding. */
  private skipPadding(bytes: Uint8Array, from: number): number {
    const at = bytes.indexOf(Kind.Reset, from);
    this.padding = at < 0;
    return at < 0 ? bytes.length : at;
  }

  private search(finder: Finder, bytes: Uint8Array, from: number): number {
    const at = finder.find(bytes, from);
    if (at < 0) return bytes.length;
    this.finder = undefined;
    this.reader.feed(resetPrefix(), 0);
    return at;
  }

  onPadding(): void {
    this.padding = true;
  }

  onStrange(fact: string): void {
    this.fail(fact);
  }

  onRecord(kind: number, payload: Uint8Array, tag: number): void {
    if (kind === Kind.Data && tag === this.sender.epoch && tag !== 0) {
      this.onPayload(payload);
      return;
    }
    const reset = kind === Kind.Reset ? decodeReset(payload, tag) : undefined;
    if (!reset) {
      this.dropped++;
      return;
    }
    this.sender.epoch = 0;
    this.onReset();
    this.channel.discard?.();
    this.channel.setReading(true);
    this.sender.epoch = reset.epoch;
    this.channel.write(encodeAck(reset.nonce, reset.epoch));
  }
}
