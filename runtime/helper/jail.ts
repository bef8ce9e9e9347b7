/**
 * What confines one program, as typed values, and the small words that its spawn plan is written with. Makes no call.
 */
import type { Operand, SlotRef, Step } from '../../agent/sys/plan.ts';

/** This program, also where an upgrade has put another in its place: what lives goes on with what it began with. */
export const OWN_PROGRAM = '/proc/self/exe';

/** A file, directory or device of the host that is visible in the jail. */
export interface JailBind {
  readonly source: string;
  /** Absolute path in the jail. */
  readonly target: string;
  readonly kind: 'file' | 'directory';
  readonly readOnly: boolean;
  readonly recursive: boolean;
  readonly executable: boolean;
}

/** A character device of the jail, made anew so that its owner can be the jail's uid. */
export interface JailDevice {
  readonly target: string;
  /** Device number as mknod takes it. */
  readonly rdev: number;
}

/** One resource limit; `resource` is the kernel's number. */
export interface JailLimit {
  readonly resource: number;
  readonly soft: bigint;
  readonly hard: bigint;
}

/** All that confines one program. */
export interface JailSpec {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  readonly binds: readonly JailBind[];
  readonly devices: readonly JailDevice[];
  readonly directories: readonly string[];
  readonly proc: boolean;
  readonly newPidNamespace: boolean;
  /** 'none': an empty namespace of its own; 'host': the helper's; a number: the helper's descriptor of a namespace. */
  readonly network: 'none' | 'host' | number;
  /** Kept in the permitted, effective and bounding set; empty for any program that is not root. */
  readonly keepCapabilities: readonly number[];
  readonly limits: readonly JailLimit[];
  readonly noNewPrivileges: boolean;
}

/** The program and its descriptors, which are the helper's numbers. */
export interface JailedProgram {
  readonly executable: string;
  readonly argv: readonly string[];
  readonly env: readonly string[];
  readonly stdin: number;
  readonly log: number;
  /** Become 3, 4, ... */
  readonly descriptors: readonly number[];
  readonly cgroupFd?: number;
}

/** The jail's root while it is being made; the slots after it are scratch. */
export const SLOT_ROOT = 60;
export const SLOT_TREE = 61;
export const SLOT_TARGET = 62;
export const SLOT_NETWORK = 63;

/** Slots 0..2 are stdio, from 3 on the descriptors. */
export const MAX_DESCRIPTORS = SLOT_ROOT - 3;

/** Where the result goes, and the errnos that are no failure. */
type CallOptions = { readonly result?: number; readonly ignore?: readonly number[] };

/** A system call as a step. */
export function call(label: string, nr: number, args: readonly Operand[], options: CallOptions = {}): Step {
  return { op: 'call', nr, args, ...options, label };
}

/** The descriptor in a slot. */
export function slot(index: number): SlotRef {
  return { slot: index };
}
