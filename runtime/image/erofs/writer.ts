/**
 * Owns the writing of an EROFS image from a tree: superblock, data, large directories, then the metadata area. Nothing is
 * compressed, and everything is determined by the tree: no times, no random order. Whiteouts become character devices
 * 0/0 and opaque directories the attribute trusted.overlay.opaque, as overlayfs wants them in a lower layer.
 *
 * The metadata area is dense, because the kernel reads it block by block without reading ahead: inodes of one directory
 * lie next to each other, followed by what is small enough to be inline (listings, targets of symlinks).
 */
import type { FileHandle } from 'node:fs/promises';
import { Directory, type Inode, Leaf, type Node, sortedChildren, Whiteout, type Xattr } from '../layer/tree.ts';
import { type ByteSource, DataArea, type PlacedData } from './data.ts';
import { encodeListing, type ListedName, listingBytes, partNames } from './directory.ts';
import {
  BLOCK_BYTES,
  CHUNK_FORMAT,
  encodeDevice,
  encodeInode,
  encodeSuperblock,
  INODE_BYTES,
  type InodeFacts,
  type KindName,
  Layout,
  NULL_BLOCK,
  SLOT_BYTES,
} from './format.ts';
import { ImageOutput } from './output.ts';
import { encodeXattrs } from './xattrs.ts';

/** Files up to this size lie behind their inode: larger ones would spread the inodes too far. */
const INLINE_FILE_BYTES = 256;

const OPAQUE: Xattr = { name: 'trusted.overlay.opaque', value: Buffer.from('y') };
const WHITEOUT: Inode = { kind: 'char', major: 0, minor: 0, mode: 0, uid: 0, gid: 0, mtime: 0, xattrs: [] };

/** What an inode is called by: its object in the tree. All whiteouts are links to one inode, as overlayfs makes them. */
type Key = Directory | Inode;

/** An inode on its way into the metadata area. */
interface Placed {
  readonly key: Key;
  readonly kind: KindName;
  readonly number: number;
  links: number;
  readonly xattrs: Buffer;
  /** Bytes behind inode and attributes: chunk map, or inline content. */
  readonly tailBytes: number;
  readonly layout: number;
  readonly size: number;
  content: number;
  /** Position in the metadata area. */
  position: number;
  /** Of a directory. */
  readonly listing: ListedName[][] | undefined;
}

/** Writes the image of `root` to an empty file and returns its size in bytes. */
export async function writeErofs(
  file: FileHandle,
  root: Directory,
  sources: (source: number) => ByteSource,
): Promise<number> {
  return await new Writer(file, sources).write(root);
}

class Writer {
  readonly #file: FileHandle;
  readonly #output: ImageOutput;
  readonly #data: DataArea;
  readonly #inodes = new Map<Key, Placed>();
  readonly #fileData = new Map<Inode, PlacedData>();
  /** Content of files that lie behind their inode. */
  readonly #inline = new Map<Inode, Buffer>();
  /** Next free byte of the metadata area. */
  #end = 0;

  constructor(file: FileHandle, sources: (source: number) => ByteSource) {
    this.#file = file;
    this.#output = new ImageOutput(file);
    this.#data = new DataArea(this.#output, sources);
  }

  async write(root: Directory): Promise<number> {
    await this.#output.append(Buffer.alloc(BLOCK_BYTES));
    await this.#writeFiles(root);
    this.#layOut(root);
    for (const inode of this.#inodes.values()) await this.#writeLargeContent(inode);
    const metadataBlock = this.#output.position / BLOCK_BYTES;
    await this.#output.append(this.#encodeMetadata());
    await this.#output.align(BLOCK_BYTES);
    await this.#output.flush();
    const blocks = this.#output.position / BLOCK_BYTES;
    const superblock = encodeSuperblock({ inodes: this.#inodes.size, blocks, metadataBlock });
    await this.#file.write(superblock, 0, superblock.length, 0);
    return this.#output.position;
  }

  /** Files in the order of their bytes in the sources, so that each source is read once from front to back. */
  async #writeFiles(root: Directory): Promise<void> {
    const files = new Set<Inode & { kind: 'file' }>();
    const collect = (directory: Directory): void => {
      for (const node of directory.children.values()) {
        if (node instanceof Directory) collect(node);
        else if (node instanceof Leaf && node.inode.kind === 'file') files.add(node.inode);
      }
    };
    collect(root);
    const first = (inode: Inode & { kind: 'file' }): number => inode.data.extents[0]?.from ?? 0;
    const ordered = [...files].sort((a, b) => a.data.source - b.data.source || first(a) - first(b));
    for (const inode of ordered) {
      if (inode.data.size <= INLINE_FILE_BYTES) this.#inline.set(inode, this.#data.read(inode.data));
      else this.#fileData.set(inode, await this.#data.place(inode.data));
    }
  }

  /** Gives every inode its place, those of one directory in a row, and counts links. */
  #layOut(root: Directory): void {
    const rootInode = this.#place(root, this.#describeDirectory(root, root));
    rootInode.links = 2;
    const todo: Directory[] = [root];
    for (let directory = todo.shift(); directory !== undefined; directory = todo.shift()) {
      const own = this.#find(directory);
      for (const [, node] of sortedChildren(directory)) {
        if (node instanceof Directory) {
          own.links++;
          this.#place(node, this.#describeDirectory(node, directory)).links = 2;
          todo.push(node);
        } else {
          const inode = inodeOf(node);
          (this.#inodes.get(inode) ?? this.#place(inode, this.#describe(inode))).links++;
        }
      }
    }
  }

  #place(key: Key, described: Omit<Placed, 'key' | 'number' | 'links' | 'position'>): Placed {
    const head = INODE_BYTES + described.xattrs.length;
    const inline = described.layout === Layout.inline;
    let position = Math.ceil(this.#end / SLOT_BYTES) * SLOT_BYTES;
    // Inline content must not cross into another block.
    while (inline && crossesBlock(position + head, described.tailBytes)) position += SLOT_BYTES;
    this.#end = position + head + described.tailBytes;
    const placed: Placed = { ...described, key, number: this.#inodes.size + 1, links: 0, position };
    this.#inodes.set(key, placed);
    return placed;
  }

  #describeDirectory(directory: Directory, parent: Directory): Omit<Placed, 'key' | 'number' | 'links' | 'position'> {
    const slotOf = (key: Key) => () => this.#find(key).position / SLOT_BYTES;
    const names: ListedName[] = [
      { name: '.', kind: 'directory', slot: slotOf(directory) },
      { name: '..', kind: 'directory', slot: slotOf(parent) },
    ];
    for (const [name, node] of directory.children) {
      const key = node instanceof Directory ? node : inodeOf(node);
      names.push({ name, kind: kindOf(key), slot: slotOf(key) });
    }
    const listing = partNames(names.sort((a, b) => (a.name < b.name ? -1 : 1)));
    const { attributes } = directory;
    const xattrs = encodeXattrs(directory.opaque ? [...attributes.xattrs, OPAQUE] : attributes.xattrs);
    const size = listingBytes(listing);
    return { kind: 'directory', xattrs, listing, size, content: NULL_BLOCK, ...tailFor(size, xattrs.length) };
  }

  #describe(inode: Inode): Omit<Placed, 'key' | 'number' | 'links' | 'position'> {
    const common = { kind: inode.kind, xattrs: encodeXattrs(inode.xattrs), listing: undefined };
    switch (inode.kind) {
      case 'symlink': {
        const size = inode.target.length;
        return { ...common, size, content: NULL_BLOCK, ...tailFor(size, common.xattrs.length) };
      }
      case 'file': {
        const { size } = inode.data;
        const data = this.#fileData.get(inode);
        if (data === undefined) return { ...common, size, content: NULL_BLOCK, ...tailFor(size, common.xattrs.length) };
        if (data.layout === 'plain')
          return { ...common, size, content: data.firstBlock, layout: Layout.plain, tailBytes: 0 };
        return { ...common, size, content: CHUNK_FORMAT, layout: Layout.chunks, tailBytes: data.blocks.byteLength };
      }
      case 'fifo':
        return { ...common, size: 0, content: 0, layout: Layout.plain, tailBytes: 0 };
      default:
        return {
          ...common,
          size: 0,
          content: encodeDevice(inode.major, inode.minor),
          layout: Layout.plain,
          tailBytes: 0,
        };
    }
  }

  /** Listings and targets that are not inline get blocks of their own. */
  async #writeLargeContent(inode: Placed): Promise<void> {
    if (inode.layout !== Layout.plain || inode.size === 0 || inode.kind === 'file') return;
    inode.content = this.#output.position / BLOCK_BYTES;
    await this.#output.append(this.#smallContent(inode));
    await this.#output.align(BLOCK_BYTES);
  }

  #encodeMetadata(): Buffer {
    const bytes = Buffer.alloc(this.#end);
    for (const inode of this.#inodes.values()) {
      const attributes = inode.key instanceof Directory ? inode.key.attributes : inode.key;
      const facts: InodeFacts = { ...inode, attributes, xattrBytes: inode.xattrs.length };
      encodeInode(bytes, inode.position, facts);
      const tailAt = inode.position + INODE_BYTES + inode.xattrs.length;
      bytes.set(inode.xattrs, inode.position + INODE_BYTES);
      if (inode.layout === Layout.inline) bytes.set(this.#smallContent(inode), tailAt);
      if (inode.layout === Layout.chunks) bytes.set(this.#chunkMap(inode), tailAt);
    }
    return bytes;
  }

  #smallContent({ key, listing }: Placed): Buffer {
    if (listing !== undefined) return encodeListing(listing);
    if (key instanceof Directory) throw new Error('a directory without a listing');
    if (key.kind === 'symlink') return Buffer.from(key.target, 'latin1');
    const content = this.#inline.get(key);
    if (content === undefined) throw new Error('an inode without content');
    return content;
  }

  #chunkMap({ key }: Placed): Buffer {
    const data = key instanceof Directory ? undefined : this.#fileData.get(key);
    if (data?.layout !== 'chunks') throw new Error('an inode without chunks');
    const map = Buffer.alloc(data.blocks.byteLength);
    data.blocks.forEach((block, index) => {
      map.writeUInt32LE(block, index * 4);
    });
    return map;
  }

  #find(key: Key): Placed {
    const placed = this.#inodes.get(key);
    if (placed === undefined) throw new Error('an inode without a place');
    return placed;
  }
}

/** Small content goes behind the inode, when some place lets it end within its block; else into blocks of its own. */
function tailFor(size: number, xattrBytes: number): { readonly layout: number; readonly tailBytes: number } {
  if (size === 0) return { layout: Layout.plain, tailBytes: 0 };
  for (let position = 0; position < BLOCK_BYTES; position += SLOT_BYTES) {
    if (!crossesBlock(position + INODE_BYTES + xattrBytes, size)) return { layout: Layout.inline, tailBytes: size };
  }
  return { layout: Layout.plain, tailBytes: 0 };
}

function crossesBlock(start: number, length: number): boolean {
  return Math.floor(start / BLOCK_BYTES) !== Math.floor((start + length - 1) / BLOCK_BYTES);
}

function kindOf(key: Key): KindName {
  return key instanceof Directory ? 'directory' : key.kind;
}

function inodeOf(node: Exclude<Node, Directory>): Inode {
  return node instanceof Whiteout ? WHITEOUT : node.inode;
}
