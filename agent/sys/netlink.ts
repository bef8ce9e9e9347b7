/**
 * Owns netlink itself: messages with attributes, a socket that asks and collects the answer. Knows the meaning of no
 * message: links, addresses and routes are in `rtnetlink.ts`.
 */

import { close } from './calls.ts';
import { E } from './errno.ts';
import { check, SysError } from './errors.ts';
import { AF, EPOLL, SOCK } from './linux.ts';
import { bind, socket } from './sockets.ts';
import { concat, utf8, viewOf, words32 } from './structs.ts';
import type { Loop, Sys } from './sys.ts';

/** Protocols of netlink. */
const NETLINK = { ROUTE: 0, KOBJECT_UEVENT: 15 } as const;

/** Flags of a request. */
export const NLM_F = { REQUEST: 1, ACK: 4, REPLACE: 0x100, EXCL: 0x200, CREATE: 0x400, DUMP: 0x300 } as const;

const HEADER_BYTES = 16;
const TYPE_ERROR = 2;
const TYPE_DONE = 3;
/** The kernel fills answers of a dump up to this size. */
const RECEIVE_BYTES = 32768;
/** A dump that goes on for longer is not believed. */
const MAX_MESSAGES = 65536;

/** One received message without its header. */
export interface NetlinkMessage {
  readonly type: number;
  readonly payload: Uint8Array;
}

/** An attribute: type, length, padded value. */
export function attribute(type: number, value: Uint8Array | string | number): Uint8Array {
  const bytes = typeof value === 'number' ? words32(value) : typeof value === 'string' ? utf8(`${value}\0`) : value;
  const whole = new Uint8Array((4 + bytes.length + 3) & ~3);
  const view = viewOf(whole);
  view.setUint16(0, 4 + bytes.length, true);
  view.setUint16(2, type, true);
  whole.set(bytes, 4);
  return whole;
}

/** An attribute that holds attributes. */
export function nested(type: number, ...attributes: readonly Uint8Array[]): Uint8Array {
  return attribute(type, concat(attributes));
}

/** Attributes by type, flag bits of the type removed. Bytes that are none end the list. */
export function parseAttributes(bytes: Uint8Array): Map<number, Uint8Array> {
  const view = viewOf(bytes);
  const attributes = new Map<number, Uint8Array>();
  let offset = 0;
  while (offset + 4 <= bytes.length) {
    const length = view.getUint16(offset, true);
    if (length < 4 || offset + length > bytes.length) break;
    attributes.set(view.getUint16(offset + 2, true) & 0x3fff, bytes.subarray(offset + 4, offset + length));
    offset += (length + 3) & ~3;
  }
  return attributes;
}

/** A request as the kernel takes it: header and payload. */
export function netlinkMessage(type: number, flags: number, sequence: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  const view = viewOf(bytes);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, sequence, true);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/** What a datagram held: its messages and, when it ended the answer, the error number (0: well). */
export function parseNetlink(bytes: Uint8Array, sequence: number): { messages: NetlinkMessage[]; end?: number } {
  const view = viewOf(bytes);
  const messages: NetlinkMessage[] = [];
  let offset = 0;
  while (offset + HEADER_BYTES <= bytes.length) {
    const length = view.getUint32(offset, true);
    if (length < HEADER_BYTES || offset + length > bytes.length) break;
    const type = view.getUint16(offset + 4, true);
    const payload = bytes.slice(offset + HEADER_BYTES, offset + length);
    if (view.getUint32(offset + 8, true) === sequence) {
      if (type === TYPE_ERROR || type === TYPE_DONE) {
        return { messages, end: payload.length >= 4 ? 0 - viewOf(payload).getInt32(0, true) : 0 };
      }
      messages.push({ type, payload });
    }
    offset += (length + 3) & ~3;
  }
  return { messages };
}

/**
 * A netlink socket in the network namespace of its making, where it stays. The kernel answers a request at once, so
 * asking does not wait for anything outside of it.
 */
export class NetlinkSocket {
  readonly #sys: Sys;
  readonly #fd: number;
  readonly #buffer = new Uint8Array(RECEIVE_BYTES);
  #sequence = 1;

  constructor(sys: Sys, protocol: number = NETLINK.ROUTE) {
    this.#sys = sys;
    this.#fd = socket(sys, AF.NETLINK, SOCK.RAW, protocol);
    try {
      bind(sys, this.#fd, { family: 'netlink', port: 0, groups: 0 }, 'netlink');
    } catch (error) {
      close(sys, this.#fd);
      throw error;
    }
  }

  /** Sends a request and waits for its acknowledgement. `operation` and `subject` word the error. */
  change(type: number, flags: number, payload: Uint8Array, operation: string, subject: string): void {
    this.#ask(type, flags | NLM_F.REQUEST | NLM_F.ACK, payload, operation, subject);
  }

  /** All messages of a dump. */
  dump(type: number, payload: Uint8Array, operation: string): NetlinkMessage[] {
    return this.#ask(type, NLM_F.REQUEST | NLM_F.DUMP, payload, operation, '');
  }

  close(): void {
    close(this.#sys, this.#fd);
  }

  #ask(type: number, flags: number, payload: Uint8Array, operation: string, subject: string): NetlinkMessage[] {
    const sequence = this.#sequence++;
    const request = netlinkMessage(type, flags, sequence, payload);
    check(this.#sys.write(this.#fd, request, 0, request.length), operation, subject);
    const messages: NetlinkMessage[] = [];
    while (messages.length < MAX_MESSAGES) {
      const length = this.#sys.read(this.#fd, this.#buffer, 0, RECEIVE_BYTES);
      if (length === -E.EINTR) continue;
      const answer = parseNetlink(this.#buffer.subarray(0, check(length, operation, subject)), sequence);
      messages.push(...answer.messages);
      if (answer.end === undefined) continue;
      if (answer.end !== 0) throw new SysError(operation, subject, answer.end);
      return messages;
    }
    throw new SysError(operation, subject, E.EMSGSIZE);
  }
}

/** Groups of rtnetlink that a socket can listen to. */
export const RTMGRP = {
  LINK: 1,
  NEIGH: 4,
  IPV4_IFADDR: 0x10,
  IPV4_ROUTE: 0x40,
  IPV6_IFADDR: 0x100,
  IPV6_ROUTE: 0x400,
} as const;

/** Tells that something of the groups has changed in the network namespace of its making; what, is to be looked up. */
export class NetlinkMonitor {
  readonly #sys: Sys;
  readonly #loop: Loop;
  readonly #fd: number;
  readonly #buffer = new Uint8Array(RECEIVE_BYTES);

  constructor(sys: Sys, loop: Loop, groups: number, changed: () => void) {
    this.#sys = sys;
    this.#loop = loop;
    this.#fd = socket(sys, AF.NETLINK, SOCK.RAW | SOCK.NONBLOCK, NETLINK.ROUTE);
    try {
      bind(sys, this.#fd, { family: 'netlink', port: 0, groups }, 'netlink');
    } catch (error) {
      close(sys, this.#fd);
      throw error;
    }
    loop.watch(this.#fd, EPOLL.IN, () => {
      this.#drain();
      changed();
    });
  }

  close(): void {
    this.#loop.unwatch(this.#fd);
    close(this.#sys, this.#fd);
  }

  /** Up to the end or any error: ENOBUFS says that messages were lost, which is a change like another. */
  #drain(): void {
    while (this.#sys.read(this.#fd, this.#buffer, 0, RECEIVE_BYTES) > 0);
  }
}
