/** Owns squashfs's table of owners: inodes name users and groups by a 16-bit number. */
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import { MetadataStream } from './metadata.ts';

/** What a 16-bit number can name. */
const MAX_IDS = 65_536;

export class IdTable {
  readonly #numbers = new Map<number, number>();

  /** The number of an owner, added when it is new. */
  add(id: number): number {
    const known = this.#numbers.get(id);
    if (known !== undefined) return known;
    if (this.#numbers.size === MAX_IDS - 1) {
      throw new TskataError(
        Code.ResourceExhausted,
        `write layer image - more than ${MAX_IDS - 1} different users and groups - squashfs has no room for them`,
      );
    }
    const number = this.#numbers.size;
    this.#numbers.set(id, number);
    return number;
  }

  get size(): number {
    return this.#numbers.size;
  }

  /** The table and the position of its index, when it begins at `position` of the image. */
  encode(position: number): { readonly bytes: Buffer; readonly start: number } {
    const stream = new MetadataStream();
    for (const id of this.#numbers.keys()) {
      const entry = Buffer.alloc(4);
      entry.writeUInt32LE(id);
      stream.append(entry);
    }
    const blocks = stream.encode();
    return { bytes: Buffer.concat([blocks, stream.encodeIndex(position)]), start: position + blocks.length };
  }
}
