/**
 * Owns the encodings of squashfs inodes (format 4.0, little endian). Every fact arrives as a number; it looks nothing
 * up. The short form of an inode is used when all its fields fit, else the extended one.
 */
import type { Attributes } from '../layer/tree.ts';
import type { PlacedData } from './data.ts';
import type { DirectoryIndexEntry } from './directory.ts';
import type { MetadataPlace } from './metadata.ts';
import { NO_XATTRS } from './xattr-table.ts';

/** Type numbers of the short forms; directory entries use them for both forms. */
export const InodeType = { directory: 1, file: 2, symlink: 3, block: 4, char: 5, fifo: 6 } as const;
/** What is added to a type for its extended form. */
const EXTENDED = 7;
const MAX_TIME = 0xffffffff;

/** What every inode begins with. */
export interface InodeHead {
  readonly attributes: Attributes;
  readonly uidNumber: number;
  readonly gidNumber: number;
  readonly number: number;
  readonly links: number;
  readonly xattrs: number;
}

function head(type: number, inode: InodeHead): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(type, 0);
  bytes.writeUInt16LE(inode.attributes.mode & 0o7777, 2);
  bytes.writeUInt16LE(inode.uidNumber, 4);
  bytes.writeUInt16LE(inode.gidNumber, 6);
  bytes.writeUInt32LE(Math.min(Math.max(Math.floor(inode.attributes.mtime), 0), MAX_TIME), 8);
  bytes.writeUInt32LE(inode.number, 12);
  return bytes;
}

export function encodeFile(inode: InodeHead, size: number, placed: PlacedData): Buffer {
  const list = Buffer.alloc(placed.blocks.length * 4);
  placed.blocks.forEach((word, index) => {
    list.writeUInt32LE(word, index * 4);
  });
  const short =
    inode.links === 1 &&
    inode.xattrs === NO_XATTRS &&
    placed.sparse === 0 &&
    size <= 0xffffffff &&
    placed.start <= 0xffffffff;
  if (short) {
    const body = Buffer.alloc(16);
    body.writeUInt32LE(placed.start, 0);
    body.writeUInt32LE(placed.fragment, 4);
    body.writeUInt32LE(placed.fragmentOffset, 8);
    body.writeUInt32LE(size, 12);
    return Buffer.concat([head(InodeType.file, inode), body, list]);
  }
  const body = Buffer.alloc(40);
  body.writeBigUInt64LE(BigInt(placed.start), 0);
  body.writeBigUInt64LE(BigInt(size), 8);
  // The kernel reckons allocated space as size - sparse; one byte is left so that no file seems to have none at all.
  body.writeBigUInt64LE(BigInt(Math.min(placed.sparse, Math.max(size - 1, 0))), 16);
  body.writeUInt32LE(inode.links, 24);
  body.writeUInt32LE(placed.fragment, 28);
  body.writeUInt32LE(placed.fragmentOffset, 32);
  body.writeUInt32LE(inode.xattrs, 36);
  return Buffer.concat([head(InodeType.file + EXTENDED, inode), body, list]);
}

export function encodeSymlink(inode: InodeHead, target: string): Buffer {
  const text = Buffer.from(target, 'latin1');
  const body = Buffer.alloc(8);
  body.writeUInt32LE(inode.links, 0);
  body.writeUInt32LE(text.length, 4);
  if (inode.xattrs === NO_XATTRS) return Buffer.concat([head(InodeType.symlink, inode), body, text]);
  return Buffer.concat([head(InodeType.symlink + EXTENDED, inode), body, text, uint32(inode.xattrs)]);
}

export function encodeDevice(inode: InodeHead, kind: 'char' | 'block', major: number, minor: number): Buffer {
  const body = Buffer.alloc(8);
  body.writeUInt32LE(inode.links, 0);
  body.writeUInt32LE(((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0, 4);
  return withXattrs(InodeType[kind], inode, body);
}

export function encodeFifo(inode: InodeHead): Buffer {
  return withXattrs(InodeType.fifo, inode, uint32(inode.links));
}

/** Where a directory's listing is, and who its parent is. */
export interface DirectoryFacts {
  readonly place: MetadataPlace;
  readonly listingBytes: number;
  readonly index: readonly DirectoryIndexEntry[];
  readonly parent: number;
}

/** The kernel counts "." and ".." into a listing's size. */
const DOTS_BYTES = 3;

export function encodeDirectory(inode: InodeHead, facts: DirectoryFacts): Buffer {
  const size = facts.listingBytes + DOTS_BYTES;
  if (inode.xattrs === NO_XATTRS && facts.index.length === 0 && size <= 0xffff) {
    const body = Buffer.alloc(16);
    body.writeUInt32LE(facts.place.block, 0);
    body.writeUInt32LE(inode.links, 4);
    body.writeUInt16LE(size, 8);
    body.writeUInt16LE(facts.place.offset, 10);
    body.writeUInt32LE(facts.parent, 12);
    return Buffer.concat([head(InodeType.directory, inode), body]);
  }
  const body = Buffer.alloc(24);
  body.writeUInt32LE(inode.links, 0);
  body.writeUInt32LE(size, 4);
  body.writeUInt32LE(facts.place.block, 8);
  body.writeUInt32LE(facts.parent, 12);
  body.writeUInt16LE(facts.index.length, 16);
  body.writeUInt16LE(facts.place.offset, 18);
  body.writeUInt32LE(inode.xattrs, 20);
  const index = facts.index.map((entry) => {
    const name = Buffer.from(entry.name, 'latin1');
    const bytes = Buffer.alloc(12);
    bytes.writeUInt32LE(entry.position, 0);
    bytes.writeUInt32LE(entry.block, 4);
    bytes.writeUInt32LE(name.length - 1, 8);
    return Buffer.concat([bytes, name]);
  });
  return Buffer.concat([head(InodeType.directory + EXTENDED, inode), body, ...index]);
}

function withXattrs(type: number, inode: InodeHead, body: Buffer): Buffer {
  if (inode.xattrs === NO_XATTRS) return Buffer.concat([head(type, inode), body]);
  return Buffer.concat([head(type + EXTENDED, inode), body, uint32(inode.xattrs)]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
