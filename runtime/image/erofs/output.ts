/** Owns sequential writing of an image file through one large buffer. It knows no format. */
import type { FileHandle } from 'node:fs/promises';

const WRITE_BUFFER_BYTES = 4 * 1024 * 1024;
const ZEROS = Buffer.alloc(4096);

export class ImageOutput {
  readonly #file: FileHandle;
  readonly #buffer = Buffer.allocUnsafe(WRITE_BUFFER_BYTES);
  #filled = 0;
  #flushed = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Where the next byte goes. */
  get position(): number {
    return this.#flushed + this.#filled;
  }

  async append(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const length = Math.min(bytes.length - at, this.#buffer.length - this.#filled);
      this.#buffer.set(bytes.subarray(at, at + length), this.#filled);
      this.#filled += length;
      at += length;
      if (this.#filled === this.#buffer.length) await this.flush();
    }
  }

  /** Fills up with zeros to a multiple of `multiple`, at most 4,096. */
  async align(multiple: number): Promise<void> {
    const rest = this.position % multiple;
    if (rest !== 0) await this.append(ZEROS.subarray(0, multiple - rest));
  }

  async flush(): Promise<void> {
    for (let at = 0; at < this.#filled; ) {
      const { bytesWritten } = await this.#file.write(this.#buffer, at, this.#filled - at, this.#flushed + at);
      at += bytesWritten;
    }
    this.#flushed += this.#filled;
    this.#filled = 0;
  }
}
