/**
 * A stream of the bytes port as the shim uses it: awaited writes and an async iteration. What the guest sends ahead is
 * held, at most one window, in blocks that small pieces share. It knows neither FIFOs nor sockets.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { MAX_STREAM_BODY_BYTES } from '../../agent/protocol/limits.ts';
import type { MuxStream } from '../../agent/protocol/mux/stream.ts';

/** Small pieces share blocks of this size, so that a window of single bytes is no heap of objects. */
const BLOCK_BYTES = 16 * 1024;

interface Reader {
  resolve(result: IteratorResult<Uint8Array, undefined>): void;
  reject(error: TskataError): void;
}

export class ByteStream implements AsyncIterable<Uint8Array> {
  private readonly stream: MuxStream;
  private readonly kind: 'bytes' | 'datagrams';
  /** What came and was not read: blocks in order, the last of them filled up to `lastLength`. */
  private blocks: Uint8Array[] = [];
  private lastLength = 0;
  private reader: Reader | undefined;
  private peerEnded = false;
  private error: TskataError | undefined;
  /** The write under way; the next one waits for it. */
  private tail: Promise<void> = Promise.resolve();
  private giveUp: ((error: TskataError) => void) | undefined;
  private ending = false;

  /** `kind`: what is written at once, or comes at once, is one datagram, and stays one. */
  constructor(stream: MuxStream, kind: 'bytes' | 'datagrams' = 'bytes') {
    this.stream = stream;
    this.kind = kind;
    stream.onData = (bytes) => this.receive(bytes);
    stream.onEnd = () => {
      this.peerEnded = true;
      if (this.blocks.length > 0) return;
      this.reader?.resolve({ done: true, value: undefined });
      this.reader = undefined;
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
    if (this.kind === 'datagrams' && bytes.length > MAX_STREAM_BODY_BYTES) {
      const fact = `${bytes.length} bytes are no datagram, which has at most ${MAX_STREAM_BODY_BYTES} here`;
      return Promise.reject(new TskataError(Code.InvalidArgument, `write to stream ${this.id}: ${fact}`));
    }
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
        const whole = this.kind === 'datagrams';
        this.stream.whenWritable(
          (maxBytes) => {
            const piece = bytes.subarray(at, at + maxBytes);
            at += piece.length;
            this.stream.send(piece);
            next();
          },
          whole ? bytes.length : 1,
        );
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
    this.blocks = [];
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
    const last = this.blocks[this.blocks.length - 1];
    if (this.kind === 'bytes' && last && last.length - this.lastLength >= bytes.length) {
      last.set(bytes, this.lastLength);
      this.lastLength += bytes.length;
      return;
    }
    if (last) this.blocks[this.blocks.length - 1] = last.subarray(0, this.lastLength);
    const block = new Uint8Array(this.kind === 'bytes' ? Math.max(bytes.length, BLOCK_BYTES) : bytes.length);
    block.set(bytes);
    this.blocks.push(block);
    this.lastLength = bytes.length;
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
    const first = this.blocks.shift();
    if (first) {
      const value = this.blocks.length === 0 ? first.subarray(0, this.lastLength) : first;
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
