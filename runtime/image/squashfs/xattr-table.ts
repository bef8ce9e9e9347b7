/**
 * Owns squashfs's tables of extended attributes: each distinct set is stored once and inodes name it by number.
 * It does not decide which attributes a layer may have.
 */
import type { Xattr } from '../layer/tree.ts';
import { MetadataStream, placeOf, referenceOf } from './metadata.ts';

/** "This inode has no attributes". */
export const NO_XATTRS = 0xffffffff;
/** Marks a table that the image does not have. */
const ABSENT = 0xffffffffffffffffn;
/** Numbers of the name prefixes that squashfs can store. */
const PREFIXES = [
  ['user.', 0],
  ['trusted.', 1],
  ['security.', 2],
] as const;

/** What the superblock and the end of the image need. */
export interface EncodedXattrs {
  readonly bytes: Buffer;
  /** Position of the table's header; all ones when there is none. */
  readonly start: bigint;
}

export class XattrTable {
  readonly #pairs = new MetadataStream();
  readonly #sets = new MetadataStream();
  readonly #known = new Map<string, number>();

  /** The number of a set, stored when it is new. */
  add(xattrs: readonly Xattr[]): number {
    if (xattrs.length === 0) return NO_XATTRS;
    const sorted = [...xattrs].sort((a, b) => (a.name < b.name ? -1 : 1));
    const encoded = Buffer.concat(sorted.map(encodePair));
    const key = encoded.toString('latin1');
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const number = this.#known.size;
    this.#known.set(key, number);
    const set = Buffer.alloc(16);
    set.writeBigUInt64LE(referenceOf(placeOf(this.#pairs.length)), 0);
    set.writeUInt32LE(sorted.length, 8);
    set.writeUInt32LE(encoded.length, 12);
    this.#sets.append(set);
    this.#pairs.append(encoded);
    return number;
  }

  /** The tables, when they begin at `position` of the image. */
  encode(position: number): EncodedXattrs {
    if (this.#known.size === 0) return { bytes: Buffer.alloc(0), start: ABSENT };
    const pairs = this.#pairs.encode();
    const sets = this.#sets.encode();
    const header = Buffer.alloc(16);
    header.writeBigUInt64LE(BigInt(position), 0);
    header.writeUInt32LE(this.#known.size, 8);
    const bytes = Buffer.concat([pairs, sets, header, this.#sets.encodeIndex(position + pairs.length)]);
    return { bytes, start: BigInt(position + pairs.length + sets.length) };
  }
}

/** Whether squashfs can store an attribute of this name. */
export function isStorable(name: string): boolean {
  return PREFIXES.some(([prefix]) => name.startsWith(prefix) && name.length > prefix.length);
}

function encodePair(xattr: Xattr): Buffer {
  const found = PREFIXES.find(([prefix]) => xattr.name.startsWith(prefix));
  if (found === undefined) throw new Error(`squashfs cannot store the attribute ${xattr.name}`);
  const [prefix, type] = found;
  const name = Buffer.from(xattr.name.slice(prefix.length), 'latin1');
  const head = Buffer.alloc(4);
  head.writeUInt16LE(type, 0);
  head.writeUInt16LE(name.length, 2);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(xattr.value.length);
  return Buffer.concat([head, name, size, xattr.value]);
}
