/**
 * Owns random access to a file on the host: synchronous, through a window that makes the sequential small reads of
 * headers and small files cheap. It knows nothing of what is in the file.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { ByteSource } from '../erofs/data.ts';
import { TarError } from '../tar/header.ts';
import type { TarBytes } from '../tar/reader.ts';

const WINDOW_BYTES = 256 * 1024;

export class FileBytes implements ByteSource, TarBytes {
  readonly length: number;
  readonly #descriptor: number;
  #window: Buffer | undefined;
  #windowAt = 0;
  #windowLength = 0;

  constructor(path: string) {
    this.#descriptor = openSync(path, 'r');
    this.length = fstatSync(this.#descriptor).size;
  }

  /** Reads a piece; the buffer is the caller's. */
  readonly readAt = (position: number, length: number): Buffer => {
    const bytes = Buffer.allocUnsafe(length);
    this.read(bytes, position);
    return bytes;
  };

  read(into: Buffer, position: number): void {
    if (position + into.length > this.length) throw new TarError('the stream ends within the entry');
    if (into.length >= WINDOW_BYTES) {
      this.#fill(into, position, into.length);
      return;
    }
    const inside = position >= this.#windowAt && position + into.length <= this.#windowAt + this.#windowLength;
    if (!inside) {
      this.#window ??= Buffer.allocUnsafe(WINDOW_BYTES);
      this.#windowLength = Math.min(WINDOW_BYTES, this.length - position);
      this.#windowAt = position;
      this.#fill(this.#window, position, this.#windowLength);
    }
    this.#window?.copy(into, 0, position - this.#windowAt, position - this.#windowAt + into.length);
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #fill(into: Buffer, position: number, length: number): void {
    for (let done = 0; done < length; ) {
      const count = readSync(this.#descriptor, into, done, length - done, position + done);
      if (count === 0) throw new TarError('the stream became shorter while it was read');
      done += count;
    }
  }
}
