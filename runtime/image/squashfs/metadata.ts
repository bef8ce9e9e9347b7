/**
 * Owns the metadata blocks of squashfs: a byte stream cut into pieces of 8 KiB, each behind a 16-bit header. Ours are
 * never compressed, so that the place of a byte in the image follows from its place in the stream. It knows no table.
 */

/** Payload of one metadata block. */
export const METADATA_BLOCK_BYTES = 8192;
const HEADER_BYTES = 2;
/** Bit of the header that says "stored as it is". */
const UNCOMPRESSED = 0x8000;
const INITIAL_CAPACITY = 64 * 1024;

/** A place in a table, as inodes and directories refer to it. */
export interface MetadataPlace {
  /** Position of the metadata block, relative to the start of its table. */
  readonly block: number;
  /** Position in that block's payload. */
  readonly offset: number;
}

/** Where byte `position` of the stream lies. */
export function placeOf(position: number): MetadataPlace {
  const index = Math.floor(position / METADATA_BLOCK_BYTES);
  return { block: index * (METADATA_BLOCK_BYTES + HEADER_BYTES), offset: position % METADATA_BLOCK_BYTES };
}

/** A place as the 64-bit reference of inodes, directories and attributes. */
export function referenceOf(place: MetadataPlace): bigint {
  return (BigInt(place.block) << 16n) | BigInt(place.offset);
}

/** A table that grows. */
export class MetadataStream {
  #bytes = Buffer.alloc(INITIAL_CAPACITY);
  #length = 0;

  /** Number of bytes so far: the position of the next one. */
  get length(): number {
    return this.#length;
  }

  append(bytes: Uint8Array): void {
    const needed = this.#length + bytes.length;
    if (needed > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(needed, this.#bytes.length * 2));
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length = needed;
  }

  /** The blocks as they stand in the image. */
  encode(): Buffer {
    const pieces: Buffer[] = [];
    for (let at = 0; at < this.#length; at += METADATA_BLOCK_BYTES) {
      const payload = this.#bytes.subarray(at, Math.min(at + METADATA_BLOCK_BYTES, this.#length));
      const header = Buffer.alloc(HEADER_BYTES);
      header.writeUInt16LE(payload.length | UNCOMPRESSED);
      pieces.push(header, payload);
    }
    return Buffer.concat(pieces);
  }

  /** Positions of the blocks, when the first one is at `start` of the image: the index that lookup tables end with. */
  encodeIndex(start: number): Buffer {
    const blocks = Math.ceil(this.#length / METADATA_BLOCK_BYTES);
    const index = Buffer.alloc(blocks * 8);
    for (let block = 0; block < blocks; block++) {
      index.writeBigUInt64LE(BigInt(start + block * (METADATA_BLOCK_BYTES + HEADER_BYTES)), block * 8);
    }
    return index;
  }
}
