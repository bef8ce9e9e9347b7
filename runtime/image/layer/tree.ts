/**
 * Owns the form of a layer's content: directories and inodes with what overlayfs needs to know of them (whiteouts,
 * opaque directories). File content stays where it is, in a tar stream, and is only pointed at. It knows neither how a
 * tree came to be nor how it is written.
 *
 * Names, link targets and names of extended attributes are byte strings: one character per byte (latin1), because a
 * file name on Linux need not be UTF-8.
 */

export interface Xattr {
  readonly name: string;
  readonly value: Uint8Array;
}

/** What every inode has. */
export interface Attributes {
  /** Permission bits with setuid, setgid and sticky: 0..07777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  readonly xattrs: readonly Xattr[];
}

/** A run of bytes of a file that is not a hole. */
export interface Extent {
  /** Position in the file, in bytes. */
  readonly at: number;
  readonly length: number;
  /** Position of its first byte in the source. */
  readonly from: number;
}

/** Where the bytes of a regular file are. What no extent covers reads as zeros. */
export interface FileData {
  /** Number of the layer, counted from the lowest of the image, whose tar stream holds the bytes. */
  readonly source: number;
  readonly size: number;
  /** Ascending, not overlapping. */
  readonly extents: readonly Extent[];
}

/** An inode that is not a directory. Two leaves with the same object are hard links. */
export type Inode = Attributes &
  (
    | { readonly kind: 'file'; readonly data: FileData }
    | { readonly kind: 'symlink'; readonly target: string }
    | { readonly kind: 'char' | 'block'; readonly major: number; readonly minor: number }
    | { readonly kind: 'fifo' }
  );

export class Directory {
  attributes: Attributes;
  readonly children = new Map<string, Node>();
  /** Hides what lower layers have at this path. */
  opaque = false;
  /** Has no entry of its own in the layer: it is only the parent of one that has. */
  implicit: boolean;

  constructor(attributes: Attributes, implicit: boolean) {
    this.attributes = attributes;
    this.implicit = implicit;
  }
}

/** A name that an upper layer took away from the lower ones. */
export class Whiteout {
  readonly whiteout = true;
}

/** A name for an inode that is not a directory. */
export class Leaf {
  readonly inode: Inode;

  constructor(inode: Inode) {
    this.inode = inode;
  }
}

export type Node = Directory | Leaf | Whiteout;

/** A directory that no layer describes, as containerd and Docker make it. */
export const DEFAULT_DIRECTORY: Attributes = { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: [] };

/** Every name below a directory, parents before children, siblings in byte order. */
export function* walk(root: Directory, prefix = ''): Generator<{ readonly path: string; readonly node: Node }> {
  for (const [name, node] of sortedChildren(root)) {
    const path = `${prefix}/${name}`;
    yield { path, node };
    if (node instanceof Directory) yield* walk(node, path);
  }
}

/** Children in the order of their bytes, which for byte strings is the order of code units. */
export function sortedChildren(directory: Directory): [string, Node][] {
  return [...directory.children].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}
