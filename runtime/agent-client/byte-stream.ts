/**
 * A stream of the bytes port as the shim uses it: awaited writes and an async iteration. What the guest sends ahead is
 * held in one buffer of at most a window, however small its pieces are. It knows neither FIFOs nor sockets.
 */
import { reserve } from '../../agent/protocol/buffer.ts';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { STREAM_WINDOW_BYTES } from '../../agent/protocol/limits.ts';
import type { MuxStream } from '../../agent/protocol/mux/stream.ts';

interface Reader {
  resolve(result: IteratorResult<Uint8Array, undefined>): void;
  reject(error: TskataError): void;
}

export class ByteStream implements AsyncIterable<Uint8Array> {
  private readonly stream: MuxStream;
  private buffer: Uint8Array | undefined;
  private length = 0;
  private reader: Reader | undefined;
  private peerEnded = false;
  private error: TskataError | undefined;
  /** The write under way; the next one waits for it. */
  private tail: Promise<void> = Promise.resolve();
  private giveUp: ((error: TskataError) => void) | undefined;
  private ending = false;

  constructor(stream: MuxStream) {
    this.stream = stream;
    stream.onData = (bytes) => this.receive(bytes);
    stream.onEnd = () => {
      this.peerEnded = true;
      if (this.length === 0) this.reader?.resolve({ done: true, value: undefined });
      if (this.length === 0) this.reader = undefined;
    };
    stream.onAbort = (error) => this.fail(error);
  }

  /** For the calls that tell the guest of it. */
  get id(): number {
    return this.stream.id;
  }

  /**
   * Sends bytes; resolves when all of them are on their way, which needs credit of the guest's. The array must not be
   * changed before. Writes keep their order. Rejects with Aborted or Unavailable when the stream broke.
   */
  write(bytes: Uint8Array): Promise<void> {
    if (this.ending)
      return Promise.reject(new TskataError(Code.FailedPrecondition, `write to stream ${this.id}: it was ended`));
    const result = this.tail.then(() => this.sendAll(bytes));
    this.tail = result.catch(() => {});
    return result;
  }

  private sendAll(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      let at = 0;
      const next = (): void => {
        if (this.error) {
          reject(this.error);
          return;
        }
        if (at >= bytes.length) {
          this.giveUp = undefined;
          resolve();
          return;
        }
        this.stream.whenWritable((maxBytes) => {
          const piece = bytes.subarray(at, at + maxBytes);
          at += piece.length;
          this.stream.send(piece);
          next();
        });
      };
      this.giveUp = reject;
      next();
    });
  }

  /** Says that nothing more comes, after what was written. */
  end(): void {
    if (this.ending) return;
    this.ending = true;
    void this.tail.then(() => this.stream.end());
  }

  /** Gives the stream up in both directions. Idempotent. */
  abort(): void {
    this.stream.abort();
    this.fail(new TskataError(Code.Canceled, `stream ${this.id}: it was given up here`));
  }

  private fail(error: TskataError): void {
    if (this.error) return;
    this.error = error;
    this.ending = true;
    this.buffer = undefined;
    this.length = 0;
    this.giveUp?.(error);
    this.reader?.reject(error);
    this.reader = undefined;
  }

  private receive(bytes: Uint8Array): void {
    if (this.reader) {
      this.reader.resolve({ done: false, value: bytes.slice() });
      this.reader = undefined;
      this.stream.consumed(bytes.length);
      return;
    }
    const needed = this.length + bytes.length;
    this.buffer = reserve(this.buffer, this.length, needed, STREAM_WINDOW_BYTES);
    this.buffer.set(bytes, this.length);
    this.length = needed;
  }

  /** The guest's bytes, in pieces of any size, until its end. One reader; leaving the loop early aborts the stream. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    return {
      next: () => this.read(),
      return: () => {
        if (!this.peerEnded) this.abort();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  private read(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.buffer && this.length > 0) {
      const value = this.buffer.subarray(0, this.length);
      this.buffer = undefined;
      this.length = 0;
      this.stream.consumed(value.length);
      return Promise.resolve({ done: false, value });
    }
    if (this.error) return Promise.reject(this.error);
    if (this.peerEnded) return Promise.resolve({ done: true, value: undefined });
    if (this.reader)
      return Promise.reject(new TskataError(Code.FailedPrecondition, `read stream ${this.id}: it has a reader`));
    return new Promise((resolve, reject) => {
      this.reader = { resolve, reject };
    });
  }
}
