/**
 * What carries whole ttrpc frames: the interface under a client or a server, and its implementation on a plain
 * Channel (a unix socket), where frames follow each other with nothing between them. The one on a virtio-serial port is
 * in `../link/`.
 */
import { reserve } from '../buffer.ts';
import type { Channel } from '../channel.ts';
import { Code, TskataError } from '../errors.ts';
import { TTRPC_HEADER_BYTES } from '../limits.ts';
import { decodeHeader, type FrameHeader } from './frame.ts';

/** A duplex pipe of frames. Its user sets the handlers before anything can arrive. */
export interface FramePipe {
  /** The largest message (without header) that it carries. */
  readonly maxMessageBytes: number;
  /** Sends one frame; false: congested until `onDrain`. Ignored after the end. */
  send(header: Uint8Array, message: Uint8Array): boolean;
  /** The message is only valid during the call. */
  onFrame: (header: FrameHeader, message: Uint8Array) => void;
  /** A frame whose message was larger than the pipe carries; it was skipped. */
  onOversized: (header: FrameHeader) => void;
  onDrain: () => void;
  /** Called once, not after `close`. */
  onEnd: (error?: Error) => void;
  setReading(reading: boolean): void;
  /** Gives the connection up because of what the peer did; `onEnd` is called. */
  fail(fact: string): void;
  close(): void;
}

const nothing = (): void => {};

/** Frames on a Channel. */
export class ChannelPipe implements FramePipe {
  readonly maxMessageBytes: number;
  onFrame: FramePipe['onFrame'] = nothing;
  onOversized: FramePipe['onOversized'] = nothing;
  onDrain: () => void = nothing;
  onEnd: (error?: Error) => void = nothing;
  private readonly channel: Channel;
  /** The header of a frame that is not complete yet. */
  private readonly head = new Uint8Array(TTRPC_HEADER_BYTES);
  private headLength = 0;
  private header: FrameHeader | undefined;
  private body: Uint8Array | undefined;
  private bodyLength = 0;
  private ended = false;

  constructor(channel: Channel, maxMessageBytes: number) {
    this.channel = channel;
    this.maxMessageBytes = maxMessageBytes;
    channel.onData = (bytes) => this.receive(bytes);
    channel.onDrain = () => this.onDrain();
    channel.onEnd = (error) => this.finish(error);
    channel.setReading(true);
  }

  send(header: Uint8Array, message: Uint8Array): boolean {
    if (this.ended) return true;
    const frame = new Uint8Array(header.length + message.length);
    frame.set(header);
    frame.set(message, header.length);
    return this.channel.write(frame);
  }

  setReading(reading: boolean): void {
    if (!this.ended) this.channel.setReading(reading);
  }

  fail(fact: string): void {
    if (this.ended) return;
    this.close();
    this.onEnd(new TskataError(Code.DataLoss, `ttrpc connection: ${fact}`));
  }

  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.body = undefined;
    this.channel.close();
  }

  private finish(error?: Error): void {
    if (this.ended) return;
    this.ended = true;
    this.body = undefined;
    const half = this.headLength > 0 || this.header !== undefined;
    this.onEnd(
      error ?? (half ? new TskataError(Code.Unavailable, 'receive frame: the connection ended inside it') : undefined),
    );
  }

  private receive(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length && !this.ended) {
      at = this.header === undefined ? this.takeHeader(bytes, at) : this.takeBody(this.header, bytes, at);
    }
  }

  private takeHeader(bytes: Uint8Array, at: number): number {
    const count = Math.min(TTRPC_HEADER_BYTES - this.headLength, bytes.length - at);
    this.head.set(bytes.subarray(at, at + count), this.headLength);
    this.headLength += count;
    if (this.headLength < TTRPC_HEADER_BYTES) return at + count;
    this.headLength = 0;
    this.header = decodeHeader(this.head, 0);
    this.bodyLength = 0;
    if (this.header.length === 0) this.deliver(this.header, bytes.subarray(0, 0));
    return at + count;
  }

  private takeBody(header: FrameHeader, bytes: Uint8Array, at: number): number {
    const count = Math.min(header.length - this.bodyLength, bytes.length - at);
    const whole = count === header.length;
    const oversized = header.length > this.maxMessageBytes;
    if (!whole && !oversized) {
      // Grows with what came, so that a header alone does not cost the memory that it announces.
      this.body = reserve(this.body, this.bodyLength, this.bodyLength + count, header.length);
      this.body.set(bytes.subarray(at, at + count), this.bodyLength);
    }
    this.bodyLength += count;
    if (this.bodyLength === header.length) {
      const body = this.body;
      this.body = undefined;
      this.deliver(
        header,
        whole || body === undefined ? bytes.subarray(at, at + count) : body.subarray(0, header.length),
      );
    }
    return at + count;
  }

  private deliver(header: FrameHeader, body: Uint8Array): void {
    this.header = undefined;
    if (header.length > this.maxMessageBytes) this.onOversized(header);
    else this.onFrame(header, body);
  }
}
