/**
 * Owns the data area of a squashfs image: blocks of 128 KiB, holes, and fragments that hold small files. Bytes are read
 * from sources by position and written once, in order. It knows no names and no directories.
 */
import type { FileHandle } from 'node:fs/promises';
import type { FileData } from '../layer/tree.ts';

export const BLOCK_BYTES = 128 * 1024;
/** Bit of a block's size that says "stored as it is". */
const UNCOMPRESSED = 1 << 24;
/** "This file has no fragment". */
export const NO_FRAGMENT = 0xffffffff;
/** Files that have blocks of their own begin at a multiple of this, so that the guest reads whole sectors. */
const ALIGNMENT_BYTES = 4096;
const WRITE_BUFFER_BYTES = 4 * 1024 * 1024;
/** Work done between two turns of the event loop. */
const BYTES_PER_TURN = 32 * 1024 * 1024;

/** Random access to the bytes that extents point at. */
export interface ByteSource {
  /** Fills the whole buffer from `position`. Throws when the source is shorter. */
  read(into: Buffer, position: number): void;
}

/** Where a file's bytes went. */
export interface PlacedData {
  readonly start: number;
  /** One size word per block; 0 is a hole. */
  readonly blocks: Uint32Array;
  /** Bytes of the file that are holes. */
  readonly sparse: number;
  readonly fragment: number;
  readonly fragmentOffset: number;
}

const ZEROS = Buffer.alloc(BLOCK_BYTES);

/** Appends to a file through one large buffer. */
export class ImageOutput {
  readonly #file: FileHandle;
  readonly #buffer = Buffer.allocUnsafe(WRITE_BUFFER_BYTES);
  #filled = 0;
  #flushed = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

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

/** Writes files' bytes and remembers the fragments. */
export class DataArea {
  readonly #output: ImageOutput;
  readonly #sources: (source: number) => ByteSource;
  readonly #block = Buffer.allocUnsafe(BLOCK_BYTES);
  readonly #fragment = Buffer.allocUnsafe(BLOCK_BYTES);
  #fragmentFilled = 0;
  /** Position and length of each fragment block. */
  readonly fragments: { readonly start: number; readonly length: number }[] = [];
  #sinceTurn = 0;

  constructor(output: ImageOutput, sources: (source: number) => ByteSource) {
    this.#output = output;
    this.#sources = sources;
  }

  async place(data: FileData): Promise<PlacedData> {
    const placed = data.size < BLOCK_BYTES ? await this.#placeSmall(data) : await this.#placeBlocks(data);
    this.#sinceTurn += data.size;
    if (this.#sinceTurn > BYTES_PER_TURN) {
      this.#sinceTurn = 0;
      await new Promise(setImmediate);
    }
    return placed;
  }

  /** Writes the last, half-filled fragment. */
  async finish(): Promise<void> {
    if (this.#fragmentFilled === 0) return;
    this.fragments.push({ start: this.#output.position, length: this.#fragmentFilled });
    await this.#output.append(this.#fragment.subarray(0, this.#fragmentFilled));
    this.#fragmentFilled = 0;
  }

  /** The table of fragments: 16 bytes each. */
  encodeFragment(fragment: { readonly start: number; readonly length: number }): Buffer {
    const entry = Buffer.alloc(16);
    entry.writeBigUInt64LE(BigInt(fragment.start), 0);
    entry.writeUInt32LE(fragment.length | UNCOMPRESSED, 8);
    return entry;
  }

  async #placeSmall(data: FileData): Promise<PlacedData> {
    const nothing = { start: 0, blocks: new Uint32Array(0), sparse: 0 };
    if (data.size === 0) return { ...nothing, fragment: NO_FRAGMENT, fragmentOffset: 0 };
    if (this.#fragmentFilled + data.size > BLOCK_BYTES) await this.finish();
    const offset = this.#fragmentFilled;
    this.#read(data, 0, this.#fragment.subarray(offset, offset + data.size), { index: 0 });
    this.#fragmentFilled += data.size;
    return { ...nothing, fragment: this.fragments.length, fragmentOffset: offset };
  }

  async #placeBlocks(data: FileData): Promise<PlacedData> {
    await this.#output.align(ALIGNMENT_BYTES);
    const start = this.#output.position;
    const blocks = new Uint32Array(Math.ceil(data.size / BLOCK_BYTES));
    const cursor = { index: 0 };
    let sparse = 0;
    for (let number = 0; number < blocks.length; number++) {
      const at = number * BLOCK_BYTES;
      const block = this.#block.subarray(0, Math.min(BLOCK_BYTES, data.size - at));
      const touched = this.#read(data, at, block, cursor);
      if (!touched || block.equals(ZEROS.subarray(0, block.length))) {
        sparse += block.length;
      } else {
        blocks[number] = block.length | UNCOMPRESSED;
        await this.#output.append(block);
      }
    }
    return { start, blocks, sparse, fragment: NO_FRAGMENT, fragmentOffset: 0 };
  }

  /** Reads a window of a file, holes as zeros; false when the whole window is a hole. `cursor` only moves forward. */
  #read(data: FileData, at: number, into: Buffer, cursor: { index: number }): boolean {
    const end = at + into.length;
    const source = this.#sources(data.source);
    let filledTo = at;
    let extent = data.extents[cursor.index];
    while (extent !== undefined && extent.at + extent.length <= at) extent = data.extents[++cursor.index];
    for (let index = cursor.index; extent !== undefined && extent.at < end; extent = data.extents[++index]) {
      const from = Math.max(extent.at, at);
      const to = Math.min(extent.at + extent.length, end);
      if (from > filledTo) into.fill(0, filledTo - at, from - at);
      source.read(into.subarray(from - at, to - at), extent.from + (from - extent.at));
      filledTo = to;
    }
    if (filledTo < end) into.fill(0, filledTo - at);
    return filledTo > at;
  }
}
