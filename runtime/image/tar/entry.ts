/** Owns the form of one entry of a layer's tar stream, as the reader hands it on: extensions are already applied. */
import type { Extent, Xattr } from '../layer/tree.ts';

export type EntryKind = 'file' | 'directory' | 'symlink' | 'link' | 'char' | 'block' | 'fifo';

export interface TarEntry {
  /** As it stands in the archive: not normalised, not trusted. Byte string. */
  readonly path: string;
  readonly kind: EntryKind;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: number;
  readonly xattrs: readonly Xattr[];
  /** Target of a symlink or hard link; '' otherwise. */
  readonly target: string;
  readonly major: number;
  readonly minor: number;
  /** Size of a file with its holes, in bytes. */
  readonly size: number;
  /** Where a file's bytes are in the stream. */
  readonly extents: readonly Extent[];
}
