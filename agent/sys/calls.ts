/**
 * Owns the typed calls on descriptors and files. Each throws `SysError` with the path in it, unless its docstring says
 * that it returns -errno. Mounts, sockets and processes are in `mounts.ts`, `sockets.ts` and `processes.ts`.
 */
import { E } from './errno.ts';
import { check } from './errors.ts';
import { AT, DT, F, O, STATX } from './linux.ts';
import { cString, type FileStatus, openHow, parseStatx, STATX_BYTES, text, utf8, viewOf } from './structs.ts';
import type { Sys } from './sys.ts';
import { SYS } from './syscalls.ts';

/** openat below `directory` (AT.FDCWD for none); always close-on-exec. */
export function open(sys: Sys, path: string, flags: number, mode = 0, directory: number = AT.FDCWD): number {
  return check(sys.call(SYS.openat, directory, path, flags | O.CLOEXEC, mode), 'open', path);
}

/** openat2 with RESOLVE.* bits; always close-on-exec. EAGAIN (a rename won a race) is tried again a bounded number of times. */
export function openat2(sys: Sys, directory: number, path: string, flags: number, resolve: number, mode = 0): number {
  const how = openHow(flags | O.CLOEXEC, mode, resolve);
  let result = -E.EAGAIN;
  for (let attempt = 0; attempt < 100 && result === -E.EAGAIN; attempt++) {
    result = sys.call(SYS.openat2, directory, path, how, how.length);
  }
  return check(result, 'open', path);
}

/** close. Errors are ignored: the descriptor is gone in any case. */
export function close(sys: Sys, fd: number): void {
  sys.call(SYS.close, fd);
}

/** pipe2, close-on-exec plus `flags`: reading and writing end. */
export function pipe2(sys: Sys, flags = 0): [number, number] {
  const fds = new Uint8Array(8);
  check(sys.call(SYS.pipe2, fds, flags | O.CLOEXEC), 'pipe2');
  const view = viewOf(fds);
  return [view.getInt32(0, true), view.getInt32(4, true)];
}

/** A duplicate that is close-on-exec, not below `minimum`. */
export function duplicate(sys: Sys, fd: number, minimum = 3): number {
  return check(sys.call(SYS.fcntl, fd, F.DUPFD_CLOEXEC, minimum), 'duplicate descriptor', fd);
}

export function fcntl(sys: Sys, fd: number, command: number, argument = 0): number {
  return check(sys.call(SYS.fcntl, fd, command, argument), 'fcntl', fd);
}

export function setNonBlocking(sys: Sys, fd: number, on = true): void {
  const flags = fcntl(sys, fd, F.GETFL);
  fcntl(sys, fd, F.SETFL, on ? flags | O.NONBLOCK : flags & ~O.NONBLOCK);
}

export function ioctl(sys: Sys, fd: number, request: number, argument: number | Uint8Array = 0): number {
  return check(sys.call(SYS.ioctl, fd, request, argument), `ioctl 0x${request.toString(16)} on`, fd);
}

/** Writes all bytes to a blocking descriptor. */
export function writeAll(sys: Sys, fd: number, bytes: Uint8Array, subject: string | number = fd): void {
  let offset = 0;
  while (offset < bytes.length) {
    const written = sys.write(fd, bytes, offset, bytes.length - offset);
    if (written === -E.EINTR) continue;
    offset += check(written, 'write', subject);
  }
}

/** Reads to the end of a blocking descriptor. More than `maxBytes` throws EFBIG. Needs no size: works on /proc. */
function readAll(sys: Sys, fd: number, maxBytes: number, subject: string | number = fd): Uint8Array {
  let buffer = new Uint8Array(Math.min(4096, maxBytes + 1));
  let length = 0;
  for (;;) {
    if (length > maxBytes) check(-E.EFBIG, 'read', subject);
    if (length === buffer.length) {
      const larger = new Uint8Array(Math.min(buffer.length * 4, maxBytes + 1));
      larger.set(buffer);
      buffer = larger;
    }
    const count = sys.read(fd, buffer, length, buffer.length - length);
    if (count === -E.EINTR) continue;
    if (check(count, 'read', subject) === 0) return buffer.subarray(0, length);
    length += count;
  }
}

/** The bytes of a file, also below /proc and /sys. */
export function readFileBytes(sys: Sys, path: string, maxBytes: number, directory: number = AT.FDCWD): Uint8Array {
  const fd = open(sys, path, O.RDONLY, 0, directory);
  try {
    return readAll(sys, fd, maxBytes, path);
  } finally {
    close(sys, fd);
  }
}

/** The text of a file, also below /proc and /sys. Default bound: 1 MiB. */
export function readFile(sys: Sys, path: string, maxBytes = 1 << 20, directory: number = AT.FDCWD): string {
  return text(readFileBytes(sys, path, maxBytes, directory));
}

/** Writes a file whole in as few writes as possible (control files of /proc, /sys and cgroups want one). */
export function writeFile(
  sys: Sys,
  path: string,
  content: string | Uint8Array,
  flags: number = O.WRONLY,
  mode = 0o644,
  directory: number = AT.FDCWD,
): void {
  const fd = open(sys, path, flags, mode, directory);
  try {
    writeAll(sys, fd, typeof content === 'string' ? utf8(content) : content, path);
  } finally {
    close(sys, fd);
  }
}

export function mkdir(sys: Sys, path: string, mode = 0o755, directory: number = AT.FDCWD): void {
  check(sys.call(SYS.mkdirat, directory, path, mode), 'mkdir', path);
}

/** mkdir of every missing parent too; what exists stays as it is. For trusted paths only: it follows symbolic links. */
export function mkdirAll(sys: Sys, path: string, mode = 0o755): void {
  const result = sys.call(SYS.mkdirat, AT.FDCWD, path, mode);
  if (result >= 0 || result === -E.EEXIST) return;
  const slash = path.lastIndexOf('/');
  if (result !== -E.ENOENT || slash <= 0) check(result, 'mkdir', path);
  mkdirAll(sys, path.slice(0, slash), mode);
  const again = sys.call(SYS.mkdirat, AT.FDCWD, path, mode);
  if (again !== -E.EEXIST) check(again, 'mkdir', path);
}

/** unlink, or rmdir with AT.REMOVEDIR. */
export function unlink(sys: Sys, path: string, flags = 0, directory: number = AT.FDCWD): void {
  check(sys.call(SYS.unlinkat, directory, path, flags), flags & AT.REMOVEDIR ? 'rmdir' : 'unlink', path);
}

export function symlink(sys: Sys, target: string, path: string, directory: number = AT.FDCWD): void {
  check(sys.call(SYS.symlinkat, target, directory, path), 'symlink', path);
}

export function rename(sys: Sys, from: string, to: string): void {
  check(sys.call(SYS.renameat2, AT.FDCWD, from, AT.FDCWD, to, 0), `rename ${from} to`, to);
}

export function mknod(sys: Sys, path: string, mode: number, device: number, directory: number = AT.FDCWD): void {
  check(sys.call(SYS.mknodat, directory, path, mode, device), 'mknod', path);
}

/** Target of a symbolic link; the link itself when `path` is empty and `directory` an O_PATH descriptor of it. */
export function readlink(sys: Sys, path: string, directory: number = AT.FDCWD): string {
  const target = new Uint8Array(4096);
  const length = check(sys.call(SYS.readlinkat, directory, path, target, target.length), 'readlink', path);
  return text(target.subarray(0, length));
}

/** statx, symbolic links not followed unless `flags` is 0; AT.EMPTY_PATH with an empty path for a descriptor. */
export function stat(
  sys: Sys,
  path: string,
  flags: number = AT.SYMLINK_NOFOLLOW,
  directory: number = AT.FDCWD,
): FileStatus {
  const bytes = new Uint8Array(STATX_BYTES);
  check(sys.call(SYS.statx, directory, path, flags, STATX.BASIC_STATS, bytes), 'stat', path);
  return parseStatx(bytes);
}

/** Whether a path exists; symbolic links are followed. */
export function exists(sys: Sys, path: string): boolean {
  return sys.call(SYS.faccessat, AT.FDCWD, path, 0) === 0;
}

/** One entry of a directory. */
export interface DirectoryEntry {
  readonly name: string;
  /** DT.* */
  readonly type: number;
  readonly inode: bigint;
}

/** Entries of an open directory without "." and "..". More than `maxEntries` throws EFBIG. */
export function readDirectoryFd(sys: Sys, fd: number, maxEntries: number, subject: string | number): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  const buffer = new Uint8Array(16384);
  for (;;) {
    const length = check(sys.call(SYS.getdents64, fd, buffer, buffer.length), 'read directory', subject);
    if (length === 0) return entries;
    for (const entry of parseDirents(buffer.subarray(0, length))) {
      if (entries.length >= maxEntries) check(-E.EFBIG, 'read directory', subject);
      entries.push(entry);
    }
  }
}

/** Entries of a directory without "." and "..". */
export function readDirectory(sys: Sys, path: string, maxEntries = 65536): DirectoryEntry[] {
  const fd = open(sys, path, O.RDONLY | O.DIRECTORY);
  try {
    return readDirectoryFd(sys, fd, maxEntries, path);
  } finally {
    close(sys, fd);
  }
}

/** The struct linux_dirent64 records in a buffer, without "." and "..". */
export function parseDirents(bytes: Uint8Array): DirectoryEntry[] {
  const view = viewOf(bytes);
  const entries: DirectoryEntry[] = [];
  let offset = 0;
  while (offset + 19 <= bytes.length) {
    const length = view.getUint16(offset + 16, true);
    if (length < 20 || offset + length > bytes.length) break;
    const name = cString(bytes.subarray(offset + 19, offset + length));
    if (name !== '.' && name !== '..') {
      entries.push({ name, type: bytes[offset + 18] ?? DT.UNKNOWN, inode: view.getBigUint64(offset, true) });
    }
    offset += length;
  }
  return entries;
}
