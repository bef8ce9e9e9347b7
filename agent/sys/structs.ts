/**
 * Owns the byte layout of the kernel's structures on x86-64 (little-endian). Knows no system call: each function turns
 * typed values into bytes or back.
 */
import { decodeUtf8, encodeUtf8 } from '../protocol/text.ts';
import { AF } from './linux.ts';

/** A socket address of one of the families that we use. `path` of a unix address may start with NUL (abstract). */
export type SocketAddress =
  | { readonly family: 'unix'; readonly path: string }
  | { readonly family: 'inet'; readonly address: Uint8Array; readonly port: number }
  | { readonly family: 'inet6'; readonly address: Uint8Array; readonly port: number; readonly scope?: number }
  | { readonly family: 'netlink'; readonly port: number; readonly groups: number }
  | { readonly family: 'vsock'; readonly cid: number; readonly port: number };

/** A view over all of a byte array. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** UTF-8 bytes of a string, without NUL. */
export function utf8(text: string): Uint8Array {
  return encodeUtf8(text);
}

/** The string of UTF-8 bytes; wrong bytes become U+FFFD. */
export function text(bytes: Uint8Array): string {
  return decodeUtf8(bytes);
}

/** The string up to the first NUL. */
export function cString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decodeUtf8(end < 0 ? bytes : bytes.subarray(0, end));
}

/** All parts in one array. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** struct sockaddr_un, _in, _in6, _nl or _vm. Throws RangeError for a path that is too long or an address of a wrong size. */
export function sockaddr(address: SocketAddress): Uint8Array {
  switch (address.family) {
    case 'unix': {
      const path = utf8(address.path);
      if (path.length === 0 || path.length > 107) {
        throw new RangeError(`unix socket path ${address.path}: ${path.length} bytes, must be 1 to 107`);
      }
      // A path ends with NUL; an abstract name is all bytes up to the length.
      const bytes = new Uint8Array(2 + path.length + (path[0] === 0 ? 0 : 1));
      viewOf(bytes).setUint16(0, AF.UNIX, true);
      bytes.set(path, 2);
      return bytes;
    }
    case 'inet': {
      if (address.address.length !== 4) throw new RangeError('IPv4 address: must have 4 bytes');
      const bytes = new Uint8Array(16);
      viewOf(bytes).setUint16(0, AF.INET, true);
      viewOf(bytes).setUint16(2, address.port);
      bytes.set(address.address, 4);
      return bytes;
    }
    case 'inet6': {
      if (address.address.length !== 16) throw new RangeError('IPv6 address: must have 16 bytes');
      const bytes = new Uint8Array(28);
      viewOf(bytes).setUint16(0, AF.INET6, true);
      viewOf(bytes).setUint16(2, address.port);
      bytes.set(address.address, 8);
      viewOf(bytes).setUint32(24, address.scope ?? 0, true);
      return bytes;
    }
    case 'netlink': {
      const bytes = new Uint8Array(12);
      viewOf(bytes).setUint16(0, AF.NETLINK, true);
      viewOf(bytes).setUint32(4, address.port, true);
      viewOf(bytes).setUint32(8, address.groups, true);
      return bytes;
    }
    case 'vsock': {
      const bytes = new Uint8Array(16);
      viewOf(bytes).setUint16(0, AF.VSOCK, true);
      viewOf(bytes).setUint32(4, address.port, true);
      viewOf(bytes).setUint32(8, address.cid, true);
      return bytes;
    }
  }
}

/** The socket address in the first `length` bytes, or undefined for a family that we do not use. */
export function parseSockaddr(bytes: Uint8Array, length: number): SocketAddress | undefined {
  if (length < 2) return undefined;
  const view = viewOf(bytes);
  const family = view.getUint16(0, true);
  if (family === AF.UNIX) {
    const name = bytes.subarray(2, length);
    return { family: 'unix', path: name[0] === 0 ? text(name) : cString(name) };
  }
  if (family === AF.INET && length >= 8) {
    return { family: 'inet', address: bytes.slice(4, 8), port: view.getUint16(2) };
  }
  if (family === AF.INET6 && length >= 28) {
    return { family: 'inet6', address: bytes.slice(8, 24), port: view.getUint16(2), scope: view.getUint32(24, true) };
  }
  if (family === AF.NETLINK && length >= 12) {
    return { family: 'netlink', port: view.getUint32(4, true), groups: view.getUint32(8, true) };
  }
  if (family === AF.VSOCK && length >= 12) {
    return { family: 'vsock', port: view.getUint32(4, true), cid: view.getUint32(8, true) };
  }
  return undefined;
}

/** struct open_how of openat2. */
export function openHow(flags: number, mode: number, resolve: number): Uint8Array {
  return words64(flags, mode, resolve);
}

/** struct mount_attr of mount_setattr. `usernsFd` only with MOUNT_ATTR.IDMAP. */
export function mountAttr(set: number, clear: number, propagation = 0, usernsFd = 0): Uint8Array {
  return words64(set, clear, propagation, usernsFd);
}

/** struct timespec of milliseconds. */
export function timespec(ms: number): Uint8Array {
  const seconds = Math.floor(ms / 1000);
  return words64(seconds, Math.round((ms - seconds * 1000) * 1e6));
}

/** struct timespec of nanoseconds since the epoch. */
export function timespecNs(ns: bigint): Uint8Array {
  return words64(ns / 1_000_000_000n, ns % 1_000_000_000n);
}

/** struct rlimit; a limit of 2^64-1 is unlimited. */
export function rlimit(soft: bigint, hard: bigint): Uint8Array {
  return words64(soft, hard);
}

/** SCHED_ATTR_SIZE_VER0. */
const SCHED_ATTR_SIZE = 48;

/** How the kernel schedules a process (sched_setattr(2)); times are nanoseconds. */
export interface SchedAttr {
  readonly policy: number;
  readonly flags: bigint;
  readonly nice: number;
  readonly priority: number;
  readonly runtimeNs: bigint;
  readonly deadlineNs: bigint;
  readonly periodNs: bigint;
}

/** struct sched_attr in its first form. */
export function schedAttr(attr: SchedAttr): Uint8Array {
  return concat([
    words32(SCHED_ATTR_SIZE, attr.policy),
    words64(attr.flags),
    words32(attr.nice, attr.priority),
    words64(attr.runtimeNs, attr.deadlineNs, attr.periodNs),
  ]);
}

/** A kernel signal set of signal numbers from 1. */
export function sigset(signals: readonly number[]): Uint8Array {
  let mask = 0n;
  for (const signal of signals) mask |= 1n << BigInt(signal - 1);
  return words64(mask);
}

/** struct winsize. */
export function winsize(rows: number, columns: number): Uint8Array {
  return words16(rows, columns, 0, 0);
}

/** struct ifreq with 16-bit flags, for TUNSETIFF and SIOCSIFFLAGS. Throws RangeError for a name over 15 bytes. */
export function ifreq(name: string, flags: number): Uint8Array {
  const bytes = new Uint8Array(40);
  const label = utf8(name);
  if (label.length > 15) throw new RangeError(`interface name ${name}: longer than 15 bytes`);
  bytes.set(label);
  viewOf(bytes).setUint16(16, flags, true);
  return bytes;
}

/** What statx told, as far as we use it. */
export interface FileStatus {
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly inode: bigint;
  /** 512-byte blocks in use. */
  readonly blocks: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  /** Of the device that a device node stands for. */
  readonly rdev: { readonly major: number; readonly minor: number };
  /** Of the file system that holds the file. */
  readonly device: { readonly major: number; readonly minor: number };
}

/** Size of struct statx. */
export const STATX_BYTES = 256;

/** The fields of a struct statx. */
export function parseStatx(bytes: Uint8Array): FileStatus {
  const view = viewOf(bytes);
  const timeMs = (at: number): number => Number(view.getBigInt64(at, true)) * 1000 + view.getUint32(at + 8, true) / 1e6;
  return {
    nlink: view.getUint32(16, true),
    uid: view.getUint32(20, true),
    gid: view.getUint32(24, true),
    mode: view.getUint16(28, true),
    inode: view.getBigUint64(32, true),
    size: Number(view.getBigUint64(40, true)),
    blocks: Number(view.getBigUint64(48, true)),
    ctimeMs: timeMs(96),
    mtimeMs: timeMs(112),
    rdev: { major: view.getUint32(128, true), minor: view.getUint32(132, true) },
    device: { major: view.getUint32(136, true), minor: view.getUint32(140, true) },
  };
}

/** How a child ended or what waitid else told. */
export interface WaitStatus {
  readonly pid: number;
  /** CLD.* */
  readonly code: number;
  /** Exit status, or the signal number. */
  readonly status: number;
}

/** Size of siginfo_t. */
export const SIGINFO_BYTES = 128;

/** The waitid fields of a siginfo_t; pid 0 when WNOHANG found nothing. */
export function parseSiginfo(bytes: Uint8Array): WaitStatus {
  const view = viewOf(bytes);
  return { code: view.getInt32(8, true), pid: view.getInt32(16, true), status: view.getInt32(24, true) };
}

/** The device number as the kernel takes it in mknod and stat (new_encode_dev). */
export function makeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/** Little-endian 64-bit words. */
export function words64(...values: readonly (number | bigint)[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 8);
  const view = viewOf(bytes);
  let offset = 0;
  for (const value of values) {
    view.setBigUint64(offset, BigInt.asUintN(64, BigInt(value)), true);
    offset += 8;
  }
  return bytes;
}

/** Little-endian 32-bit words. */
export function words32(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = viewOf(bytes);
  values.forEach((value, index) => {
    view.setUint32(index * 4, value >>> 0, true);
  });
  return bytes;
}

/** Little-endian 16-bit words. */
export function words16(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 2);
  const view = viewOf(bytes);
  values.forEach((value, index) => {
    view.setUint16(index * 2, value, true);
  });
  return bytes;
}
