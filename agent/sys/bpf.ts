/**
 * Owns small eBPF programs: an assembler with forward labels, loading, attaching to a cgroup or a network namespace.
 * Knows no policy: which devices or addresses a program lets through is decided where it is written.
 */
import { close } from './calls.ts';
import { check } from './errors.ts';
import { utf8, viewOf, words32, words64 } from './structs.ts';
import type { Sys } from './sys.ts';
import { SYS } from './syscalls.ts';

/** BPF_PROG_TYPE_*. */
export const BPF_PROGRAM = {
  CGROUP_SKB: 8,
  CGROUP_SOCK: 9,
  CGROUP_DEVICE: 15,
  CGROUP_SOCK_ADDR: 18,
  SK_LOOKUP: 30,
} as const;

/** Attach types: BPF_CGROUP_* without that prefix, and others. */
export const BPF_ATTACH = {
  INET_EGRESS: 1,
  DEVICE: 6,
  INET4_CONNECT: 10,
  INET6_CONNECT: 11,
  UDP4_SENDMSG: 14,
  UDP6_SENDMSG: 15,
  SK_LOOKUP: 36,
} as const;

/** Attach flags: several programs on one cgroup, all of which must allow; taking the place of an attached one. */
export const BPF_F = { ALLOW_MULTI: 2, REPLACE: 4 } as const;

const COMMAND_MAP_CREATE = 0;
const COMMAND_MAP_UPDATE = 2;
const COMMAND_LOAD = 5;
const COMMAND_ATTACH = 8;
const COMMAND_LINK_CREATE = 28;
const MAP_TYPE_SOCKMAP = 15;
/** In place of a source register: the immediate is a map's descriptor. */
const PSEUDO_MAP_FD = 1;
/** Size of the part of `union bpf_attr` that our commands read. */
const ATTR_BYTES = 128;
const INSTRUCTION_BYTES = 8;

/** A jump target that is placed later. */
export interface Label {
  at: number | undefined;
}

interface Instruction {
  readonly code: number;
  readonly to: number;
  readonly from: number;
  offset: number;
  readonly value: number;
}

/** Writes `struct bpf_insn`. Registers: 0 result, 1..5 arguments and scratch, 6..9 kept over calls, 10 frame pointer. */
export class BpfAssembler {
  readonly #code: Instruction[] = [];
  readonly #jumps: { readonly index: number; readonly label: Label }[] = [];

  label(): Label {
    return { at: undefined };
  }

  place(label: Label): this {
    label.at = this.#code.length;
    return this;
  }

  move(to: number, from: number): this {
    return this.#emit(0xbf, to, from, 0, 0);
  }

  moveImmediate(to: number, value: number): this {
    return this.#emit(0xb7, to, 0, 0, value);
  }

  addImmediate(to: number, value: number): this {
    return this.#emit(0x07, to, 0, 0, value);
  }

  and32Immediate(to: number, value: number): this {
    return this.#emit(0x54, to, 0, 0, value);
  }

  shiftLeft32Immediate(to: number, value: number): this {
    return this.#emit(0x64, to, 0, 0, value);
  }

  shiftRight32Immediate(to: number, value: number): this {
    return this.#emit(0x74, to, 0, 0, value);
  }

  /** to = *(u32 *)(from + offset) */
  load32(to: number, from: number, offset: number): this {
    return this.#emit(0x61, to, from, offset, 0);
  }

  /** *(u32 *)(to + offset) = value */
  store32Immediate(to: number, offset: number, value: number): this {
    return this.#emit(0x62, to, 0, offset, value);
  }

  /** to = the map of this descriptor. */
  loadMap(to: number, mapFd: number): this {
    return this.#emit(0x18, to, PSEUDO_MAP_FD, 0, mapFd).#emit(0, 0, 0, 0, 0);
  }

  load16(to: number, from: number, offset: number): this {
    return this.#emit(0x69, to, from, offset, 0);
  }

  load8(to: number, from: number, offset: number): this {
    return this.#emit(0x71, to, from, offset, 0);
  }

  /** Calls a kernel helper by number. */
  callHelper(id: number): this {
    return this.#emit(0x85, 0, 0, 0, id);
  }

  jump(label: Label): this {
    return this.#jump(0x05, 0, 0, label);
  }

  /** Compares the low 32 bits. */
  jumpIfEqual(register: number, value: number, label: Label): this {
    return this.#jump(0x16, register, value, label);
  }

  /** Compares the low 32 bits. */
  jumpIfNotEqual(register: number, value: number, label: Label): this {
    return this.#jump(0x56, register, value, label);
  }

  /** 64-bit comparison with zero: for pointers that helpers return. */
  jumpIfNull(register: number, label: Label): this {
    return this.#jump(0x15, register, 0, label);
  }

  /** Signed 64-bit comparison with zero: for results of helpers. */
  jumpIfNegative(register: number, label: Label): this {
    return this.#jump(0xc5, register, 0, label);
  }

  /** Returns `value`. */
  exit(value: number): this {
    return this.moveImmediate(0, value).#emit(0x95, 0, 0, 0, 0);
  }

  /** The instructions as the kernel takes them. Throws RangeError for a label without a place. */
  assemble(): Uint8Array {
    for (const { index, label } of this.#jumps) {
      const instruction = this.#code[index];
      if (label.at === undefined || instruction === undefined) throw new RangeError('eBPF: a label has no place');
      instruction.offset = label.at - index - 1;
    }
    const bytes = new Uint8Array(this.#code.length * INSTRUCTION_BYTES);
    const view = viewOf(bytes);
    let at = 0;
    for (const { code, to, from, offset, value } of this.#code) {
      view.setUint8(at, code);
      view.setUint8(at + 1, (from << 4) | to);
      view.setInt16(at + 2, offset, true);
      view.setInt32(at + 4, value | 0, true);
      at += INSTRUCTION_BYTES;
    }
    return bytes;
  }

  #jump(code: number, register: number, value: number, label: Label): this {
    this.#jumps.push({ index: this.#code.length, label });
    return this.#emit(code, register, 0, 0, value);
  }

  #emit(code: number, to: number, from: number, offset: number, value: number): this {
    this.#code.push({ code, to, from, offset, value });
    return this;
  }
}

/** A program and where it belongs. */
export interface BpfProgram {
  /** For error messages. */
  readonly name: string;
  /** BPF_PROGRAM.* */
  readonly programType: number;
  /** BPF_ATTACH.* */
  readonly attachType: number;
  readonly code: Uint8Array;
}

/** Loads a program into the kernel: its descriptor. */
function loadBpf(sys: Sys, program: BpfProgram): number {
  // Some helpers are for programs under a GPL-compatible licence only; none of ours needs one.
  const licence = utf8('Apache-2.0\0');
  const attr = new Uint8Array(ATTR_BYTES);
  const view = viewOf(attr);
  view.setUint32(0, program.programType, true);
  view.setUint32(4, program.code.length / INSTRUCTION_BYTES, true);
  view.setBigUint64(8, sys.address(program.code), true);
  view.setBigUint64(16, sys.address(licence), true);
  view.setUint32(68, program.attachType, true);
  return check(sys.call(SYS.bpf, COMMAND_LOAD, attr, attr.length), 'load eBPF program', program.name);
}

/**
 * Loads a program and attaches it to a cgroup, where it stays until the cgroup is removed. Returns the program's
 * descriptor, needed only to replace it (`replaceFd` of a later call, with the flags of the first).
 */
export function attachBpf(sys: Sys, cgroupFd: number, program: BpfProgram, flags = 0, replaceFd?: number): number {
  const fd = loadBpf(sys, program);
  const attr = new Uint8Array(ATTR_BYTES);
  const view = viewOf(attr);
  view.setUint32(0, cgroupFd, true);
  view.setUint32(4, fd, true);
  view.setUint32(8, program.attachType, true);
  view.setUint32(12, replaceFd === undefined ? flags : flags | BPF_F.REPLACE, true);
  view.setUint32(16, replaceFd ?? 0, true);
  const result = sys.call(SYS.bpf, COMMAND_ATTACH, attr, attr.length);
  if (result < 0) close(sys, fd);
  check(result, 'attach eBPF program', program.name);
  return fd;
}

/** A map of one socket, for programs that hand connections to it. The kernel drops the socket from it at its end. */
export function createSocketMap(sys: Sys, socketFd: number): number {
  const attr = new Uint8Array(ATTR_BYTES);
  const view = viewOf(attr);
  for (const [index, value] of [MAP_TYPE_SOCKMAP, 4, 8, 1].entries()) view.setUint32(4 * index, value, true);
  const map = check(sys.call(SYS.bpf, COMMAND_MAP_CREATE, attr, attr.length), 'create eBPF map', 'of sockets');
  const key = words32(0);
  const value = words64(socketFd);
  const entry = new Uint8Array(ATTR_BYTES);
  const entryView = viewOf(entry);
  entryView.setUint32(0, map, true);
  entryView.setBigUint64(8, sys.address(key), true);
  entryView.setBigUint64(16, sys.address(value), true);
  const result = sys.call(SYS.bpf, COMMAND_MAP_UPDATE, entry, entry.length);
  if (result < 0) close(sys, map);
  check(result, 'put a socket into', 'an eBPF map');
  return map;
}

/** Loads a program and ties it to a network namespace for as long as the returned descriptor is open. */
export function linkBpfToNetns(sys: Sys, netnsFd: number, program: BpfProgram): number {
  const fd = loadBpf(sys, program);
  try {
    const attr = new Uint8Array(ATTR_BYTES);
    attr.set(words32(fd, netnsFd, program.attachType, 0));
    return check(sys.call(SYS.bpf, COMMAND_LINK_CREATE, attr, attr.length), 'attach eBPF program', program.name);
  } finally {
    close(sys, fd);
  }
}
