/**
 * Owns the encoding of extended attributes behind an inode. It does not decide which attributes a layer may have.
 */
import type { Xattr } from '../layer/tree.ts';
import { XATTR_HEADER_BYTES } from './format.ts';

/** Numbers of the name prefixes. */
const PREFIXES = [
  ['user.', 1],
  ['trusted.', 4],
  ['security.', 6],
] as const;

/** The header (no shared attributes) and the entries, each filled up to four bytes; empty for none. */
export function encodeXattrs(xattrs: readonly Xattr[]): Buffer {
  if (xattrs.length === 0) return Buffer.alloc(0);
  const sorted = [...xattrs].sort((a, b) => (a.name < b.name ? -1 : 1));
  return Buffer.concat([Buffer.alloc(XATTR_HEADER_BYTES), ...sorted.map(encodeEntry)]);
}

function encodeEntry(xattr: Xattr): Buffer {
  const found = PREFIXES.find(([prefix]) => xattr.name.startsWith(prefix));
  if (found === undefined) throw new Error(`no number for the attribute ${xattr.name}`);
  const [prefix, index] = found;
  const name = Buffer.from(xattr.name.slice(prefix.length), 'latin1');
  const length = 4 + name.length + xattr.value.length;
  const entry = Buffer.alloc(Math.ceil(length / 4) * 4);
  entry.writeUInt8(name.length, 0);
  entry.writeUInt8(index, 1);
  entry.writeUInt16LE(xattr.value.length, 2);
  name.copy(entry, 4);
  entry.set(xattr.value, 4 + name.length);
  return entry;
}
