/**
 * Owns the reading of a tar stream from random-access bytes: sequence of entries, extended headers, long names. It
 * reads headers only; content is skipped and pointed at. It trusts no number and bounds every body before it reads it.
 */

import type { Extent, Xattr } from '../layer/tree.ts';
import { MAX_EXTENSION_BYTES } from '../limits.ts';
import type { EntryKind, TarEntry } from './entry.ts';
import { decodeHeader, TAR_BLOCK_BYTES, TarError, type TarHeader } from './header.ts';
import { type DecodedPax, decodePax, type PaxRecords, paxNumber } from './pax.ts';
import { extentsOf, type ReadAt, readOldSparse, readPaxSparse, type SparseFile } from './sparse.ts';

/** An archive as positions: how long it is, and its bytes. */
export interface TarBytes {
  readonly length: number;
  readonly readAt: ReadAt;
}

const KINDS = new Map<string, EntryKind>([
  ['0', 'file'],
  ['\0', 'file'],
  ['7', 'file'],
  ['S', 'file'],
  ['1', 'link'],
  ['2', 'symlink'],
  ['3', 'char'],
  ['4', 'block'],
  ['5', 'directory'],
  ['6', 'fifo'],
]);
const XATTR_PREFIX = 'SCHILY.xattr.';
/** (uid_t)-1 means "no change" to chown(2) and is nobody's id. */
const MAX_ID = 0xfffffffe;
const NO_PAX: DecodedPax = { records: new Map(), repeated: [] };

/** What extension headers said about the next entry. */
interface Pending {
  pax: DecodedPax;
  longName: string | undefined;
  longLink: string | undefined;
}

/** Yields the entries in order. Throws TarError about the entry behind the one that was yielded last. */
export function* readTar(bytes: TarBytes): Generator<TarEntry> {
  let global: PaxRecords = new Map();
  let pending: Pending = { pax: NO_PAX, longName: undefined, longLink: undefined };
  for (let at = 0; at < bytes.length; ) {
    const block = bytes.readAt(at, TAR_BLOCK_BYTES);
    const header = decodeHeader(block);
    // Two blocks of zeros end an archive; some writers leave only one.
    if (header === undefined) return;
    at += TAR_BLOCK_BYTES;
    const body = (): Buffer => {
      if (header.size > MAX_EXTENSION_BYTES)
        throw new TarError(`the extended header is longer than ${MAX_EXTENSION_BYTES} bytes`);
      return bytes.readAt(at, header.size);
    };
    switch (header.type) {
      case 'x':
      case 'X':
        pending = { ...pending, pax: decodePax(body()) };
        at += padded(header.size);
        continue;
      case 'g':
        global = new Map([...global, ...decodePax(body()).records]);
        at += padded(header.size);
        continue;
      case 'L':
        pending = { ...pending, longName: untilZero(body()) };
        at += padded(header.size);
        continue;
      case 'K':
        pending = { ...pending, longLink: untilZero(body()) };
        at += padded(header.size);
        continue;
    }
    const kind = KINDS.get(header.type);
    if (kind === undefined) throw new TarError(`the entry type '${printable(header.type)}' is unknown`);
    const pax: DecodedPax = { records: new Map([...global, ...pending.pax.records]), repeated: pending.pax.repeated };
    const { entry, next } = makeEntry(bytes, block, header, kind, pax, pending, at);
    pending = { pax: NO_PAX, longName: undefined, longLink: undefined };
    at = next;
    yield entry;
  }
}

function makeEntry(
  bytes: TarBytes,
  block: Buffer,
  header: TarHeader,
  declared: EntryKind,
  pax: DecodedPax,
  pending: Pending,
  at: number,
): { readonly entry: TarEntry; readonly next: number } {
  const { records } = pax;
  const text = (key: string): string | undefined => records.get(key)?.toString('latin1');
  const numeric = (key: string, otherwise: number): number => {
    const value = records.get(key);
    return value === undefined ? otherwise : paxNumber(value, key);
  };
  // The name that stands in a sparse entry's header is made up by the writer.
  const path = text('GNU.sparse.name') ?? text('path') ?? pending.longName ?? header.name;
  // Old writers mark a directory only by the slash behind its name.
  const kind = declared === 'file' && header.type !== 'S' && path.endsWith('/') ? 'directory' : declared;
  // As Go's archive/tar: only a regular entry has a body, whatever size a link or a device states.
  const stored = declared === 'file' ? numeric('size', header.size) : 0;
  if (stored < 0) throw new TarError('the size is negative');
  const sparse = kind === 'file' ? findSparse(bytes, block, header, pax, at, stored) : undefined;
  const mapBytes = header.type === 'S' && sparse ? sparse.dataAt - at : 0;
  const next = at + mapBytes + padded(stored);
  if (!Number.isSafeInteger(next) || next > bytes.length + TAR_BLOCK_BYTES)
    throw new TarError('the stream ends within the entry');
  const plain: Extent[] = stored > 0 && kind === 'file' ? [{ at: 0, length: stored, from: at }] : [];
  const extents = sparse ? extentsOf(sparse, stored - (sparse.dataAt - at - mapBytes)) : plain;
  const last = extents.at(-1);
  if (last !== undefined && last.from + last.length > bytes.length)
    throw new TarError('the stream ends within the entry');
  const entry: TarEntry = {
    path,
    kind,
    mode: header.mode,
    uid: ownerId(numeric('uid', header.uid), 'uid'),
    gid: ownerId(numeric('gid', header.gid), 'gid'),
    mtime: numeric('mtime', header.mtime),
    xattrs: xattrsOf(records),
    target: kind === 'link' || kind === 'symlink' ? (text('linkpath') ?? pending.longLink ?? header.linkName) : '',
    major: numeric('SCHILY.devmajor', header.major),
    minor: numeric('SCHILY.devminor', header.minor),
    size: kind === 'file' ? (sparse?.realSize ?? stored) : 0,
    extents,
  };
  return { entry, next };
}

function findSparse(
  bytes: TarBytes,
  block: Buffer,
  header: TarHeader,
  pax: DecodedPax,
  at: number,
  stored: number,
): SparseFile | undefined {
  if (header.type === 'S') return readOldSparse(block, at, bytes.readAt);
  return readPaxSparse(pax, at, stored, bytes.readAt);
}

function xattrsOf(records: PaxRecords): Xattr[] {
  const xattrs: Xattr[] = [];
  for (const [key, value] of records) {
    if (key.startsWith(XATTR_PREFIX)) xattrs.push({ name: key.slice(XATTR_PREFIX.length), value });
  }
  return xattrs;
}

function ownerId(value: number, what: string): number {
  if (value < 0 || value > MAX_ID) throw new TarError(`the ${what} ${value} is not between 0 and ${MAX_ID}`);
  return value;
}

function padded(size: number): number {
  return Math.ceil(size / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
}

function untilZero(body: Buffer): string {
  const end = body.indexOf(0);
  return body.toString('latin1', 0, end === -1 ? body.length : end);
}

/** Characters of an untrusted stream as they may be shown to a person. */
export function printable(text: string): string {
  return [...text.slice(0, 256)]
    .map((c) => (c >= ' ' && c <= '~' ? c : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`))
    .join('');
}
