/**
 * Owns: writing a "newc" cpio archive, the form in which the kernel unpacks its first root file system.
 * Refuses to know: what is in the archive and why. The format is described by the kernel's
 * Documentation/driver-api/early-userspace/buffer-format.rst.
 *
 * Device nodes are only entries in the archive, so no privilege is needed to write one, and every number that could
 * differ between two machines (inode, time, owner) is fixed: equal input gives equal bytes.
 */

export type CpioEntry =
  | { readonly kind: 'directory'; readonly path: string; readonly mode: number }
  | { readonly kind: 'file'; readonly path: string; readonly mode: number; readonly data: Uint8Array }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string }
  | {
      readonly kind: 'char-device';
      readonly path: string;
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
    };

const MAGIC = '070701';
const TRAILER = 'TRAILER!!!';
const HEADER_BYTES = 110;
const ALIGNMENT = 4;
/** The kernel refuses longer names (PATH_MAX). */
const MAX_PATH_BYTES = 4095;
/** Eight hexadecimal digits. */
const MAX_FIELD = 0xffff_ffff;

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;

type Header = { path: string; mode: number; links: number; data: Uint8Array; major: number; minor: number };

/**
 * Writes the entries in the order given; a directory must come before what lies in it, as the kernel makes no parents.
 *
 * @throws Error on an absolute, empty, repeated, over-long or `..` path, and on a path whose directory is not in the archive
 */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  const paths = new Map<string, CpioEntry['kind']>();
  for (const [index, entry] of entries.entries()) {
    checkPath(entry.path, paths);
    paths.set(entry.path, entry.kind);
    parts.push(...record(toHeader(entry), index + 1));
  }
  parts.push(...record({ path: TRAILER, mode: 0, links: 1, data: new Uint8Array(0), major: 0, minor: 0 }, 0));
  return Buffer.concat(parts);
}

function checkPath(path: string, earlier: ReadonlyMap<string, CpioEntry['kind']>): void {
  const segments = path.split('/');
  const bad = segments.some((segment) => segment === '' || segment === '.' || segment === '..');
  if (bad || path.includes('\0') || path === TRAILER || Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new Error(`write cpio archive: ${JSON.stringify(path)} is not a relative path in normal form`);
  }
  if (earlier.has(path)) throw new Error(`write cpio archive: ${path} occurs twice`);
  const parent = segments.slice(0, -1).join('/');
  if (parent !== '' && earlier.get(parent) !== 'directory') {
    throw new Error(`write cpio archive: ${path} comes before its directory ${parent}`);
  }
}

function toHeader(entry: CpioEntry): Header {
  const none = { data: new Uint8Array(0), major: 0, minor: 0, links: 1 };
  switch (entry.kind) {
    case 'directory':
      return { ...none, path: entry.path, mode: S_IFDIR | entry.mode, links: 2 };
    case 'file':
      return { ...none, path: entry.path, mode: S_IFREG | entry.mode, data: entry.data };
    case 'symlink':
      return { ...none, path: entry.path, mode: S_IFLNK | 0o777, data: Buffer.from(entry.target) };
    case 'char-device':
      return { ...none, path: entry.path, mode: S_IFCHR | entry.mode, major: entry.major, minor: entry.minor };
  }
}

/** Header, name and data, the last two padded to four bytes. */
function record(header: Header, inode: number): Buffer[] {
  const name = Buffer.from(`${header.path}\0`);
  const fields = [
    inode,
    header.mode,
    0, // owner: root
    0, // group: root
    header.links,
    0, // time of change: would differ between builds
    header.data.length,
    0, // device of the archive's source, major
    0, // and minor
    header.major,
    header.minor,
    name.length,
    0, // checksum: only in the "crc" form
  ];
  const head = Buffer.from(MAGIC + fields.map(hex8).join(''), 'latin1');
  return [head, name, padding(HEADER_BYTES + name.length), Buffer.from(header.data), padding(header.data.length)];
}

function hex8(value: number): string {
  if (!Number.isInteger(value) || value < 0 || value > MAX_FIELD) {
    throw new Error(`write cpio archive: ${value} does not fit a field of 32 bits`);
  }
  return value.toString(16).toUpperCase().padStart(8, '0');
}

function padding(length: number): Buffer {
  return Buffer.alloc((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT);
}
