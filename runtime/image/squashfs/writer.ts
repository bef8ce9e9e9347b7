/**
 * Owns the writing of a squashfs 4.0 image from a tree: the order of its areas and its superblock. Nothing in it is
 * compressed (README.md has the measurement), everything in it is determined by the tree: no times, no random order.
 * Whiteouts become character devices 0/0 and opaque directories the attribute trusted.overlay.opaque, as overlayfs
 * wants them in a lower layer.
 */
import type { FileHandle } from 'node:fs/promises';
import {
  type Attributes,
  Directory,
  type Inode,
  type Leaf,
  type Node,
  sortedChildren,
  Whiteout,
  type Xattr,
} from '../layer/tree.ts';
import { BLOCK_BYTES, type ByteSource, DataArea, ImageOutput, type PlacedData } from './data.ts';
import { appendListing, type ListedEntry } from './directory.ts';
import { IdTable } from './id-table.ts';
import {
  encodeDevice,
  encodeDirectory,
  encodeFifo,
  encodeFile,
  encodeSymlink,
  type InodeHead,
  InodeType,
} from './inode.ts';
import { type MetadataPlace, MetadataStream, placeOf, referenceOf } from './metadata.ts';
import { XattrTable } from './xattr-table.ts';

const MAGIC = 0x73717368;
const SUPERBLOCK_BYTES = 96;
/** zlib: named, though nothing is compressed, because every kernel with squashfs mounts it. */
const COMPRESSOR = 1;
/** Inodes, data, fragments, attributes and ids are stored as they are; inodes can be opened by file handle. */
const FLAGS = 0x0001 | 0x0002 | 0x0008 | 0x0080 | 0x0100 | 0x0800;
/** A block device has whole pages. */
const IMAGE_ALIGNMENT_BYTES = 4096;

const OPAQUE: Xattr = { name: 'trusted.overlay.opaque', value: Buffer.from('y') };
const WHITEOUT: Inode = { kind: 'char', major: 0, minor: 0, mode: 0, uid: 0, gid: 0, mtime: 0, xattrs: [] };

/** What an inode is called by: its object in the tree. All whiteouts are links to one inode, as overlayfs makes them. */
type Key = Directory | Inode;

interface Known {
  readonly number: number;
  links: number;
}

/** Writes the image of `root` to an empty file and returns its size in bytes. */
export async function writeSquashfs(
  file: FileHandle,
  root: Directory,
  sources: (source: number) => ByteSource,
): Promise<number> {
  const writer = new Writer(file, sources);
  return await writer.write(root);
}

class Writer {
  readonly #output: ImageOutput;
  readonly #file: FileHandle;
  readonly #data: DataArea;
  readonly #known = new Map<Key, Known>();
  readonly #places = new Map<Key, MetadataPlace>();
  readonly #placed = new Map<Inode, PlacedData>();
  readonly #inodes = new MetadataStream();
  readonly #directories = new MetadataStream();
  readonly #ids = new IdTable();
  readonly #xattrs = new XattrTable();
  readonly #references: bigint[] = [];

  constructor(file: FileHandle, sources: (source: number) => ByteSource) {
    this.#file = file;
    this.#output = new ImageOutput(file);
    this.#data = new DataArea(this.#output, sources);
  }

  async write(root: Directory): Promise<number> {
    await this.#output.append(Buffer.alloc(SUPERBLOCK_BYTES));
    this.#number(root);
    await this.#writeData();
    const rootPlace = this.#writeDirectory(root, this.#known.size + 1);
    const superblock = await this.#writeTables(rootPlace);
    await this.#output.align(IMAGE_ALIGNMENT_BYTES);
    await this.#output.flush();
    await this.#file.write(superblock, 0, superblock.length, 0);
    return this.#output.position;
  }

  /** Gives every inode a number and counts its links. */
  #number(directory: Directory): void {
    const known = this.#count(directory);
    known.links = 2;
    for (const [, node] of sortedChildren(directory)) {
      if (node instanceof Directory) {
        known.links++;
        this.#number(node);
      } else {
        this.#count(inodeOf(node)).links++;
      }
    }
  }

  #count(key: Key): Known {
    let known = this.#known.get(key);
    if (known === undefined) {
      known = { number: this.#known.size + 1, links: 0 };
      this.#known.set(key, known);
    }
    return known;
  }

  /** Files in the order of their bytes in the sources, so that each source is read once from front to back. */
  async #writeData(): Promise<void> {
    const files: (Inode & { kind: 'file' })[] = [];
    for (const key of this.#known.keys()) if (!(key instanceof Directory) && key.kind === 'file') files.push(key);
    const first = (inode: Inode & { kind: 'file' }): number => inode.data.extents[0]?.from ?? 0;
    files.sort((a, b) => a.data.source - b.data.source || first(a) - first(b));
    for (const inode of files) this.#placed.set(inode, await this.#data.place(inode.data));
    await this.#data.finish();
  }

  /** Children first: a listing needs the places of their inodes. */
  #writeDirectory(directory: Directory, parent: number): MetadataPlace {
    const { number, links } = this.#find(directory);
    const entries = sortedChildren(directory).map(([name, node]): ListedEntry => {
      if (node instanceof Directory) {
        return {
          name,
          type: InodeType.directory,
          number: this.#find(node).number,
          place: this.#writeDirectory(node, number),
        };
      }
      const inode = inodeOf(node);
      return { name, type: InodeType[inode.kind], number: this.#find(inode).number, place: this.#writeInode(inode) };
    });
    const start = this.#directories.length;
    const index = appendListing(this.#directories, entries);
    const attributes = directory.opaque
      ? { ...directory.attributes, xattrs: [...directory.attributes.xattrs, OPAQUE] }
      : directory.attributes;
    const listingBytes = this.#directories.length - start;
    const inode = encodeDirectory(this.#head(attributes, number, links), {
      place: placeOf(start),
      listingBytes,
      index,
      parent,
    });
    return this.#append(number, inode);
  }

  #writeInode(inode: Inode): MetadataPlace {
    const written = this.#places.get(inode);
    if (written !== undefined) return written;
    const { number, links } = this.#find(inode);
    const place = this.#append(number, this.#encode(inode, this.#head(inode, number, links)));
    this.#places.set(inode, place);
    return place;
  }

  #encode(inode: Inode, head: InodeHead): Buffer {
    switch (inode.kind) {
      case 'file': {
        const placed = this.#placed.get(inode);
        if (placed === undefined) throw new Error('a file without data');
        return encodeFile(head, inode.data.size, placed);
      }
      case 'symlink':
        return encodeSymlink(head, inode.target);
      case 'fifo':
        return encodeFifo(head);
      default:
        return encodeDevice(head, inode.kind, inode.major, inode.minor);
    }
  }

  #append(number: number, bytes: Buffer): MetadataPlace {
    const place = placeOf(this.#inodes.length);
    this.#inodes.append(bytes);
    this.#references[number - 1] = referenceOf(place);
    return place;
  }

  #head(attributes: Attributes, number: number, links: number): InodeHead {
    return {
      attributes,
      number,
      links,
      uidNumber: this.#ids.add(attributes.uid),
      gidNumber: this.#ids.add(attributes.gid),
      xattrs: this.#xattrs.add(attributes.xattrs),
    };
  }

  #find(key: Key): Known {
    const known = this.#known.get(key);
    if (known === undefined) throw new Error('an inode without a number');
    return known;
  }

  /** The tables in the order that the kernel checks, and the superblock that points at them. */
  async #writeTables(root: MetadataPlace): Promise<Buffer> {
    const inodeTable = await this.#appendBlocks(this.#inodes);
    const directoryTable = await this.#appendBlocks(this.#directories);
    const fragments = new MetadataStream();
    for (const fragment of this.#data.fragments) fragments.append(this.#data.encodeFragment(fragment));
    const fragmentTable = await this.#appendLookup(fragments);
    const exports = new MetadataStream();
    exports.append(Buffer.from(new BigUint64Array(this.#references).buffer));
    const exportTable = await this.#appendLookup(exports);
    const ids = this.#ids.encode(this.#output.position);
    await this.#output.append(ids.bytes);
    const xattrs = this.#xattrs.encode(this.#output.position);
    await this.#output.append(xattrs.bytes);

    const superblock = Buffer.alloc(SUPERBLOCK_BYTES);
    superblock.writeUInt32LE(MAGIC, 0);
    superblock.writeUInt32LE(this.#known.size, 4);
    superblock.writeUInt32LE(BLOCK_BYTES, 12);
    superblock.writeUInt32LE(this.#data.fragments.length, 16);
    superblock.writeUInt16LE(COMPRESSOR, 20);
    superblock.writeUInt16LE(Math.log2(BLOCK_BYTES), 22);
    superblock.writeUInt16LE(FLAGS, 24);
    superblock.writeUInt16LE(this.#ids.size, 26);
    superblock.writeUInt16LE(4, 28);
    superblock.writeBigUInt64LE(referenceOf(root), 32);
    superblock.writeBigUInt64LE(BigInt(this.#output.position), 40);
    superblock.writeBigUInt64LE(BigInt(ids.start), 48);
    superblock.writeBigUInt64LE(xattrs.start, 56);
    superblock.writeBigUInt64LE(BigInt(inodeTable), 64);
    superblock.writeBigUInt64LE(BigInt(directoryTable), 72);
    superblock.writeBigUInt64LE(BigInt(fragmentTable), 80);
    superblock.writeBigUInt64LE(BigInt(exportTable), 88);
    return superblock;
  }

  async #appendBlocks(stream: MetadataStream): Promise<number> {
    const start = this.#output.position;
    await this.#output.append(stream.encode());
    return start;
  }

  /** Blocks, then the index of their positions; returns where the index is. */
  async #appendLookup(stream: MetadataStream): Promise<number> {
    const start = await this.#appendBlocks(stream);
    const index = this.#output.position;
    await this.#output.append(stream.encodeIndex(start));
    return index;
  }
}

function inodeOf(node: Exclude<Node, Directory>): Inode {
  return node instanceof Whiteout ? WHITEOUT : (node as Leaf).inode;
}
