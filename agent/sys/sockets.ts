/**
 * Owns the typed calls on sockets, descriptor passing included. Each throws `SysError` unless its docstring says that it
 * returns -errno. Knows no protocol.
 */
import { check } from './errors.ts';
import { AF, MSG, SCM, SO, SOCK, SOL } from './linux.ts';
import { concat, parseSockaddr, type SocketAddress, sockaddr, viewOf, words32 } from './structs.ts';
import type { Sys } from './sys.ts';
import { SYS } from './syscalls.ts';

/** A new socket, close-on-exec. */
export function socket(sys: Sys, family: number, type: number, protocol = 0): number {
  return check(sys.call(SYS.socket, family, type | SOCK.CLOEXEC, protocol), 'socket');
}

/** A connected unix pair, close-on-exec. */
export function socketpair(sys: Sys, type: number): [number, number] {
  const fds = new Uint8Array(8);
  check(sys.call(SYS.socketpair, AF.UNIX, type | SOCK.CLOEXEC, 0, fds), 'socketpair');
  const view = viewOf(fds);
  return [view.getInt32(0, true), view.getInt32(4, true)];
}

/** Binds; `subject` names the address in the error. */
export function bind(sys: Sys, fd: number, address: SocketAddress, subject: string | number = fd): void {
  const bytes = sockaddr(address);
  check(sys.call(SYS.bind, fd, bytes, bytes.length), 'bind', subject);
}

export function listen(sys: Sys, fd: number, backlog: number): void {
  check(sys.call(SYS.listen, fd, backlog), 'listen', fd);
}

/** An accepted connection, close-on-exec, and who is at its other end; or -errno. */
export function accept(
  sys: Sys,
  fd: number,
): { readonly fd: number; readonly peer: SocketAddress | undefined } | number {
  const address = new Uint8Array(128);
  const length = words32(address.length);
  const accepted = sys.call(SYS.accept4, fd, address, length, SOCK.CLOEXEC);
  if (accepted < 0) return accepted;
  return { fd: accepted, peer: parseSockaddr(address, viewOf(length).getUint32(0, true)) };
}

/** Starts to connect. Returns 0, or -errno: -EINPROGRESS on a non-blocking socket, then wait for EPOLL.OUT and `socketError`. */
export function connect(sys: Sys, fd: number, address: SocketAddress): number {
  const bytes = sockaddr(address);
  return sys.call(SYS.connect, fd, bytes, bytes.length);
}

/** The pending error of a socket as a positive errno; 0 for none. */
export function socketError(sys: Sys, fd: number): number {
  return getsockopt32(sys, fd, SOL.SOCKET, SO.ERROR);
}

function getsockopt32(sys: Sys, fd: number, level: number, option: number): number {
  const value = new Uint8Array(4);
  check(sys.call(SYS.getsockopt, fd, level, option, value, words32(4)), 'getsockopt', fd);
  return viewOf(value).getInt32(0, true);
}

export function setsockopt32(sys: Sys, fd: number, level: number, option: number, value: number): void {
  check(sys.call(SYS.setsockopt, fd, level, option, words32(value), 4), 'setsockopt', fd);
}

/** struct msghdr with one iovec. The arrays must stay referenced by the caller until the call is over. */
function messageHeader(sys: Sys, iovec: Uint8Array, data: Uint8Array, control: Uint8Array): Uint8Array {
  const vector = viewOf(iovec);
  vector.setBigUint64(0, data.length === 0 ? 0n : sys.address(data), true);
  vector.setBigUint64(8, BigInt(data.length), true);
  const header = new Uint8Array(56);
  const view = viewOf(header);
  view.setBigUint64(16, sys.address(iovec), true);
  view.setBigUint64(24, 1n, true);
  if (control.length > 0) {
    view.setBigUint64(32, sys.address(control), true);
    view.setBigUint64(40, BigInt(control.length), true);
  }
  return header;
}

/** A control message that carries descriptors, padded as CMSG_SPACE. */
export function rightsMessage(fds: readonly number[]): Uint8Array {
  const length = 16 + fds.length * 4;
  const message = concat([words32(length, 0, SOL.SOCKET, SCM.RIGHTS), words32(...fds)]);
  if (length % 8 === 0) return message;
  return concat([message, new Uint8Array(8 - (length % 8))]);
}

/** The descriptors in the control bytes of a received message. */
export function parseRights(control: Uint8Array): number[] {
  const view = viewOf(control);
  const fds: number[] = [];
  let offset = 0;
  while (offset + 16 <= control.length) {
    const length = Number(view.getBigUint64(offset, true));
    if (length < 16 || offset + length > control.length) break;
    if (view.getInt32(offset + 8, true) === SOL.SOCKET && view.getInt32(offset + 12, true) === SCM.RIGHTS) {
      for (let at = offset + 16; at + 4 <= offset + length; at += 4) fds.push(view.getInt32(at, true));
    }
    offset += (length + 7) & ~7;
  }
  return fds;
}

/** sendmsg with descriptors (SCM_RIGHTS), MSG_NOSIGNAL. Returns bytes sent, or -errno. At least one byte of data is needed on a stream. */
export function sendDescriptors(sys: Sys, fd: number, data: Uint8Array, fds: readonly number[]): number {
  const iovec = new Uint8Array(16);
  const control = fds.length === 0 ? new Uint8Array(0) : rightsMessage(fds);
  const header = messageHeader(sys, iovec, data, control);
  return sys.call(SYS.sendmsg, fd, header, MSG.NOSIGNAL);
}

/** What recvmsg brought. */
export interface ReceivedMessage {
  /** Bytes put into the buffer; 0 at the end of a stream. */
  readonly length: number;
  /** Received descriptors, close-on-exec. */
  readonly fds: readonly number[];
  /** MSG.TRUNC or MSG.CTRUNC when something did not fit. */
  readonly flags: number;
}

/** recvmsg with room for `maxFds` descriptors, or -errno. */
export function receiveDescriptors(sys: Sys, fd: number, buffer: Uint8Array, maxFds = 16): ReceivedMessage | number {
  const iovec = new Uint8Array(16);
  const control = new Uint8Array(16 + Math.ceil(maxFds / 2) * 8);
  const header = messageHeader(sys, iovec, buffer, control);
  const length = sys.call(SYS.recvmsg, fd, header, MSG.CMSG_CLOEXEC);
  if (length < 0) return length;
  const view = viewOf(header);
  const controlLength = Number(view.getBigUint64(40, true));
  return { length, fds: parseRights(control.subarray(0, controlLength)), flags: view.getInt32(48, true) };
}
