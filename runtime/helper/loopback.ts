/**
 * One listening socket for every port of a namespace's loopback addresses: an eBPF program that the kernel asks for the
 * listener of each new TCP connection names it. The listener sees from its accepted sockets' own address which port was
 * meant. For those who enter a pod's namespace and dial localhost there, where no program of the pod lives.
 */
import {
  BPF_ATTACH,
  BPF_PROGRAM,
  BpfAssembler,
  type BpfProgram,
  createSocketMap,
  linkBpfToNetns,
} from '../../agent/sys/bpf.ts';
import { close } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { isErrno } from '../../agent/sys/errors.ts';
import { AF, SOCK } from '../../agent/sys/linux.ts';
import { bind, listen, setsockopt32, socket } from '../../agent/sys/sockets.ts';
import type { Sys } from '../../agent/sys/sys.ts';

/** Connections that wait to be accepted. */
const BACKLOG = 128;

/** Offsets in struct bpf_sk_lookup. */
const LOOKUP = { FAMILY: 8, PROTOCOL: 12, LOCAL_IP4: 40, LOCAL_IP6: 44 } as const;
const PROTOCOL_TCP = 6;
/** First byte of 127.0.0.0/8 and last word of ::1, as little-endian reads see them. */
const LOOPBACK4_MASK = 0xff;
const LOOPBACK4 = 127;
const LOOPBACK6_LAST = 0x0100_0000;

const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

const HELPER = { MAP_LOOKUP: 1, SK_RELEASE: 86, SK_ASSIGN: 124 } as const;
/** What the program answers: the usual search goes on, unless a socket was assigned. */
const SK_PASS = 1;

/** Gives TCP connections to loopback addresses to the socket in the map. Pure. */
export function loopbackProgram(mapFd: number): BpfProgram {
  const asm = new BpfAssembler();
  const six = asm.label();
  const take = asm.label();
  const pass = asm.label();
  asm.move(6, 1).load32(2, 6, LOOKUP.PROTOCOL).jumpIfNotEqual(2, PROTOCOL_TCP, pass);
  asm.load32(2, 6, LOOKUP.FAMILY).jumpIfEqual(2, AF.INET6, six).jumpIfNotEqual(2, AF.INET, pass);
  asm.load32(2, 6, LOOKUP.LOCAL_IP4).and32Immediate(2, LOOPBACK4_MASK).jumpIfEqual(2, LOOPBACK4, take).jump(pass);
  asm.place(six);
  for (const word of [0, 1, 2]) asm.load32(2, 6, LOOKUP.LOCAL_IP6 + 4 * word).jumpIfNotEqual(2, 0, pass);
  asm.load32(2, 6, LOOKUP.LOCAL_IP6 + 12).jumpIfNotEqual(2, LOOPBACK6_LAST, pass);
  // The key on the stack, the socket of the map in r7, assigned and given back.
  asm.place(take).store32Immediate(10, -4, 0).loadMap(1, mapFd).move(2, 10).addImmediate(2, -4);
  asm.callHelper(HELPER.MAP_LOOKUP).jumpIfNull(0, pass).move(7, 0);
  asm.move(1, 6).move(2, 7).moveImmediate(3, 0).callHelper(HELPER.SK_ASSIGN);
  asm.move(1, 7).callHelper(HELPER.SK_RELEASE);
  asm.place(pass).exit(SK_PASS);
  return {
    name: 'loopback',
    programType: BPF_PROGRAM.SK_LOOKUP,
    attachType: BPF_ATTACH.SK_LOOKUP,
    code: asm.assemble(),
  };
}

/** The listener and what directs connections to it; each lives as long as its descriptor. */
export interface LoopbackListener {
  readonly listener: number;
  readonly link: number;
}

/** Listens. Must be called inside the namespace of `netnsFd`. */
export function listenOnLoopback(sys: Sys, netnsFd: number): LoopbackListener {
  const listener = openListener(sys);
  try {
    const map = createSocketMap(sys, listener);
    try {
      return { listener, link: linkBpfToNetns(sys, netnsFd, loopbackProgram(map)) };
    } finally {
      close(sys, map);
    }
  } catch (error) {
    close(sys, listener);
    throw error;
  }
}

/**
 * Bound to any address, because only such a socket takes connections of both families; the port is the kernel's choice
 * and nobody's business. No packet from outside reaches it: those go to the machine before they reach this namespace.
 */
function openListener(sys: Sys): number {
  const fd = openSocket(sys);
  try {
    listen(sys, fd, BACKLOG);
    return fd;
  } catch (error) {
    close(sys, fd);
    throw error;
  }
}

function openSocket(sys: Sys): number {
  try {
    const fd = socket(sys, AF.INET6, SOCK.STREAM | SOCK.NONBLOCK);
    setsockopt32(sys, fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    bind(sys, fd, { family: 'inet6', address: new Uint8Array(16), port: 0 });
    return fd;
  } catch (error) {
    if (!isErrno(error, E.EAFNOSUPPORT)) throw error;
    const fd = socket(sys, AF.INET, SOCK.STREAM | SOCK.NONBLOCK);
    bind(sys, fd, { family: 'inet', address: Uint8Array.of(127, 0, 0, 1), port: 0 });
    return fd;
  }
}
