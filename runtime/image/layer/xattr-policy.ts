/**
 * Owns the decision which extended attributes of a layer reach its image. Only what a container image can mean is kept:
 * user.* and file capabilities. trusted.overlay.* would let a layer steer overlayfs in the guest, security.* labels
 * belong to the host that made the layer, and system.* (ACLs) is not a container image's.
 */
import { MAX_XATTR_NAME_BYTES, MAX_XATTR_VALUE_BYTES, MAX_XATTRS_BYTES } from '../limits.ts';
import { TarError } from '../tar/header.ts';
import { printable } from '../tar/reader.ts';
import type { Xattr } from './tree.ts';

const CAPABILITY = 'security.capability';
/** struct vfs_cap_data of versions 1, 2 and 3. */
const CAPABILITY_BYTES = [12, 20, 24];

/** The attributes that are kept. Throws TarError for one that no kernel would take. */
export function keptXattrs(xattrs: readonly Xattr[]): Xattr[] {
  const kept: Xattr[] = [];
  let total = 0;
  for (const xattr of xattrs) {
    if (!isWanted(xattr)) continue;
    if (xattr.name.length > MAX_XATTR_NAME_BYTES || xattr.name.includes('\0')) {
      throw new TarError(
        `the attribute name ${printable(xattr.name.slice(0, 40))} has more than ${MAX_XATTR_NAME_BYTES} bytes or a zero byte`,
      );
    }
    if (xattr.value.length > MAX_XATTR_VALUE_BYTES) {
      throw new TarError(`the attribute ${printable(xattr.name)} has more than ${MAX_XATTR_VALUE_BYTES} bytes`);
    }
    total += xattr.name.length + xattr.value.length;
    if (total > MAX_XATTRS_BYTES) throw new TarError(`the attributes have more than ${MAX_XATTRS_BYTES} bytes`);
    kept.push(xattr);
  }
  return kept;
}

function isWanted(xattr: Xattr): boolean {
  if (xattr.name === CAPABILITY) return CAPABILITY_BYTES.includes(xattr.value.length);
  return xattr.name.startsWith('user.') && xattr.name.length > 'user.'.length;
}
