/**
 * Owns the copying of a directory tree between two descriptors, owners, modes and times kept, links never followed. It
 * runs in a process of its own, which may block.
 */
import { close, mkdir, mknod, open, readDirectoryFd, readlink, stat, symlink } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { check, SysError } from '../sys/errors.ts';
import { AT, O, S } from '../sys/linux.ts';
import { concat, type FileStatus, makeDevice, timespec } from '../sys/structs.ts';
import type { Sys } from '../sys/sys.ts';
import { SYS } from '../sys/syscalls.ts';

const MAX_DEPTH = 128;
const MAX_ENTRIES = 200_000;
const CHUNK_BYTES = 1 << 20;
const PERMISSIONS = 0o7777;

/** Copies what is below `from` into `to`. With `self`, owner and mode of `to` become those of `from`. */
export function copyTree(sys: Sys, from: number, to: number, self: boolean): void {
  copyDirectory(sys, from, to, 0, { left: MAX_ENTRIES });
  if (self) giveStatus(sys, to, '', stat(sys, '', AT.EMPTY_PATH, from));
}

function copyDirectory(sys: Sys, from: number, to: number, depth: number, budget: { left: number }): void {
  if (depth > MAX_DEPTH) throw new SysError('copy tree', 'deeper than the bound', E.ELOOP);
  for (const { name } of readDirectoryFd(sys, from, budget.left, 'tree')) {
    budget.left -= 1;
    copyEntry(sys, from, to, name, depth, budget);
  }
}

function copyEntry(sys: Sys, from: number, to: number, name: string, depth: number, budget: { left: number }): void {
  const status = stat(sys, name, AT.SYMLINK_NOFOLLOW, from);
  const type = status.mode & S.IFMT;
  if (type === S.IFDIR) {
    mkdir(sys, name, 0o700, to);
    const source = open(sys, name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW, 0, from);
    const target = open(sys, name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW, 0, to);
    copyDirectory(sys, source, target, depth + 1, budget);
    close(sys, source);
    close(sys, target);
  } else if (type === S.IFREG) {
    copyFile(sys, from, to, name, status.size);
  } else if (type === S.IFLNK) {
    symlink(sys, readlink(sys, name, from), name, to);
  } else {
    mknod(sys, name, type | 0o600, makeDevice(status.rdev.major, status.rdev.minor), to);
  }
  giveStatus(sys, to, name, status);
}

function copyFile(sys: Sys, from: number, to: number, name: string, size: number): void {
  const source = open(sys, name, O.RDONLY | O.NOFOLLOW | O.NONBLOCK, 0, from);
  const target = open(sys, name, O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW, 0o600, to);
  for (let left = size; left > 0; ) {
    const count = check(sys.call(SYS.sendfile, target, source, null, Math.min(left, CHUNK_BYTES)), 'copy', name);
    if (count === 0) break;
    left -= count;
  }
  close(sys, source);
  close(sys, target);
}

/** Owner first: a change of owner clears setuid bits. */
function giveStatus(sys: Sys, directory: number, name: string, status: FileStatus): void {
  const flags = name === '' ? AT.EMPTY_PATH : AT.SYMLINK_NOFOLLOW;
  check(sys.call(SYS.fchownat, directory, name, status.uid, status.gid, flags), 'own', name);
  const link = (status.mode & S.IFMT) === S.IFLNK;
  if (!link) {
    const mode = status.mode & PERMISSIONS;
    const result = name === '' ? sys.call(SYS.fchmod, directory, mode) : sys.call(SYS.fchmodat, directory, name, mode);
    check(result, 'set the mode of', name);
  }
  const time = timespec(status.mtimeMs);
  const times = concat([time, time]);
  if (name !== '') check(sys.call(SYS.utimensat, directory, name, times, AT.SYMLINK_NOFOLLOW), 'set times of', name);
}
