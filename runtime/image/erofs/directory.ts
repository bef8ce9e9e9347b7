/**
 * Owns the encoding of a directory's listing: blocks of entries in byte order, "." and ".." among them, each block with
 * its own names behind its entries. It knows of an inode only where it is and what kind it has.
 */
import { BLOCK_BYTES, DIRENT_BYTES, encodeDirent, type KindName } from './format.ts';

/** A name in a directory. */
export interface ListedName {
  /** Byte string of 1 to 255 bytes. */
  readonly name: string;
  readonly kind: KindName;
  /** Place of the inode; asked for only when the listing is written. */
  readonly slot: () => number;
}

/** Parts the names, which are in byte order, into blocks. */
export function partNames(names: readonly ListedName[]): ListedName[][] {
  const blocks: ListedName[][] = [];
  let current: ListedName[] = [];
  let used = 0;
  for (const name of names) {
    const cost = DIRENT_BYTES + name.name.length;
    if (used + cost > BLOCK_BYTES) {
      blocks.push(current);
      current = [];
      used = 0;
    }
    current.push(name);
    used += cost;
  }
  blocks.push(current);
  return blocks;
}

/** Bytes of a listing: every block but the last counts in full. */
export function listingBytes(blocks: readonly (readonly ListedName[])[]): number {
  const last = blocks.at(-1) ?? [];
  return (blocks.length - 1) * BLOCK_BYTES + last.reduce((sum, { name }) => sum + DIRENT_BYTES + name.length, 0);
}

export function encodeListing(blocks: readonly (readonly ListedName[])[]): Buffer {
  const bytes = Buffer.alloc(listingBytes(blocks));
  for (const [number, names] of blocks.entries()) {
    const start = number * BLOCK_BYTES;
    let nameAt = names.length * DIRENT_BYTES;
    for (const [index, { name, kind, slot }] of names.entries()) {
      encodeDirent(bytes, start + index * DIRENT_BYTES, slot(), nameAt, kind);
      bytes.write(name, start + nameAt, 'latin1');
      nameAt += name.length;
    }
  }
  return bytes;
}
