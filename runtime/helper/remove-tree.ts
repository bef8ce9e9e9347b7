/** Removes a directory with everything in it, by descriptors, following no symbolic link and entering no mount. */
import { close, openat2, readDirectoryFd } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { SysError } from '../../agent/sys/errors.ts';
import { AT, DT, O, RESOLVE } from '../../agent/sys/linux.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';

const MAX_ENTRIES = 1 << 20;
const MAX_DEPTH = 256;

/** Idempotent: a directory that is gone is fine. */
export function removeTree(sys: Sys, path: string): void {
  removeEntry(sys, AT.FDCWD, path, path, 0);
}

function removeEntry(sys: Sys, directory: number, name: string, subject: string, depth: number): void {
  if (depth > MAX_DEPTH) throw new SysError('remove', subject, E.ELOOP);
  let fd: number;
  try {
    fd = openat2(
      sys,
      directory,
      name,
      O.RDONLY | O.DIRECTORY | O.NOFOLLOW,
      depth === 0 ? RESOLVE.NO_MAGICLINKS : RESOLVE.NO_SYMLINKS | RESOLVE.BENEATH | RESOLVE.NO_XDEV,
    );
  } catch (error) {
    if (error instanceof SysError && error.errno === E.ENOENT) return;
    throw error;
  }
  try {
    for (const entry of readDirectoryFd(sys, fd, MAX_ENTRIES, subject)) {
      const inner = `${subject}/${entry.name}`;
      const plain = entry.type === DT.DIR ? -E.EISDIR : sys.call(SYS.unlinkat, fd, entry.name, 0);
      if (plain === -E.EISDIR) removeEntry(sys, fd, entry.name, inner, depth + 1);
      else if (plain < 0 && plain !== -E.ENOENT) throw new SysError('remove', inner, -plain);
    }
  } finally {
    close(sys, fd);
  }
  const result = sys.call(SYS.unlinkat, directory, name, AT.REMOVEDIR);
  if (result < 0 && result !== -E.ENOENT) throw new SysError('remove', subject, -result);
}
