/**
 * Owns the numbers of EROFS's disk format, version 1 (Linux 5.15 and later, which know holes): superblock, inode,
 * directory entry. All little endian. Pure functions; they look nothing up.
 */
import type { Attributes } from '../layer/tree.ts';

export const BLOCK_BYTES = 4096;
/** Pieces in which a file with holes is mapped. */
export const CHUNK_BYTES = 128 * 1024;
/** "There is no block": a hole. */
export const NULL_BLOCK = 0xffffffff;
/** Inodes are named by their place in units of this, counted from the metadata area. */
export const SLOT_BYTES = 32;
export const INODE_BYTES = 64;
export const DIRENT_BYTES = 12;

const SUPERBLOCK_AT = 1024;
const MAGIC = 0xe0f5e1e2;
const BLOCK_BITS = 12;
/** Files whose inode is followed by one block number per chunk. */
const INCOMPAT_CHUNKED_FILE = 0x4;
/** Bit of the format word for the 64-byte form, which holds 32-bit owners and a time. */
const EXTENDED = 1;

/** How an inode's content is found. */
export const Layout = { plain: 0, inline: 2, chunks: 4 } as const;

/** Kinds of inodes: type bits of the mode, and the number in directory entries. */
const Kind = {
  file: { mode: 0o100000, entry: 1 },
  directory: { mode: 0o040000, entry: 2 },
  char: { mode: 0o020000, entry: 3 },
  block: { mode: 0o060000, entry: 4 },
  fifo: { mode: 0o010000, entry: 5 },
  symlink: { mode: 0o120000, entry: 7 },
} as const;

export type KindName = keyof typeof Kind;

/** An inode with everything looked up. */
export interface InodeFacts {
  readonly kind: KindName;
  readonly layout: number;
  readonly attributes: Attributes;
  /** Bytes of the attributes behind the inode. */
  readonly xattrBytes: number;
  readonly size: number;
  /** First block, device number or chunk format, as kind and layout say. */
  readonly content: number;
  readonly number: number;
  readonly links: number;
}

export function encodeInode(into: Buffer, at: number, inode: InodeFacts): void {
  into.writeUInt16LE(EXTENDED | (inode.layout << 1), at);
  into.writeUInt16LE(inode.xattrBytes === 0 ? 0 : (inode.xattrBytes - XATTR_HEADER_BYTES) / 4 + 1, at + 2);
  into.writeUInt16LE(Kind[inode.kind].mode | (inode.attributes.mode & 0o7777), at + 4);
  into.writeBigUInt64LE(BigInt(inode.size), at + 8);
  into.writeUInt32LE(inode.content >>> 0, at + 16);
  into.writeUInt32LE(inode.number, at + 20);
  into.writeUInt32LE(inode.attributes.uid, at + 24);
  into.writeUInt32LE(inode.attributes.gid, at + 28);
  into.writeBigInt64LE(BigInt(Math.floor(inode.attributes.mtime)), at + 32);
  into.writeUInt32LE(inode.links, at + 44);
}

/** What precedes the attributes of an inode. */
export const XATTR_HEADER_BYTES = 12;

/** How chunks are mapped: plain block numbers, and the size of a chunk in powers of two blocks. */
export const CHUNK_FORMAT = Math.log2(CHUNK_BYTES / BLOCK_BYTES);

/** A device number as the kernel encodes it (new_encode_dev). */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

export function encodeDirent(into: Buffer, at: number, slot: number, nameAt: number, kind: KindName): void {
  into.writeBigUInt64LE(BigInt(slot), at);
  into.writeUInt16LE(nameAt, at + 8);
  into.writeUInt8(Kind[kind].entry, at + 10);
}

/** The first block of an image. No time and no random id: the same tree gives the same bytes. */
export function encodeSuperblock(facts: {
  readonly inodes: number;
  readonly blocks: number;
  readonly metadataBlock: number;
}): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const at = SUPERBLOCK_AT;
  block.writeUInt32LE(MAGIC, at);
  block.writeUInt8(BLOCK_BITS, at + 12);
  // The root is the first inode of the metadata area: slot 0.
  block.writeUInt16LE(0, at + 14);
  block.writeBigUInt64LE(BigInt(facts.inodes), at + 16);
  block.writeUInt32LE(facts.blocks, at + 36);
  block.writeUInt32LE(facts.metadataBlock, at + 40);
  block.writeUInt32LE(INCOMPAT_CHUNKED_FILE, at + 80);
  return block;
}

/** Undefined for a block that is no superblock of ours. */
export function decodeSuperblock(block: Buffer): { readonly blocks: number } | undefined {
  const at = SUPERBLOCK_AT;
  if (block.readUInt32LE(at) !== MAGIC || block.readUInt8(at + 12) !== BLOCK_BITS) return undefined;
  return { blocks: block.readUInt32LE(at + 36) };
}
