/**
 * A cgroup v2 leaf for one confined program, so that eBPF programs apply to it and to nothing else. It sets no
 * resource limits. Works on the unified hierarchy and on the v2 part of a hybrid one.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { close, mkdir, mkdirAll, open, readFile, unlink } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { check, isErrno } from '../../agent/sys/errors.ts';
import { AT, O } from '../../agent/sys/linux.ts';
import { viewOf } from '../../agent/sys/structs.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import { buildEgressPrograms, type EgressProgram, type EgressRules } from './egress.ts';

const BPF_PROG_LOAD = 5;
const BPF_PROG_ATTACH = 8;
/** Size of the part of `union bpf_attr` that these commands read. */
const BPF_ATTR_BYTES = 128;

/** A directory of the v2 hierarchy with rules on it. */
export interface EgressCgroup {
  /** For the spawn: the child is born in it. */
  readonly fd: number;
  readonly path: string;
}

/** The mount point of the cgroup v2 hierarchy in a `mountinfo`, or undefined. */
export function findCgroup2(mountinfo: string): string | undefined {
  for (const line of mountinfo.split('\n')) {
    const [mount, file] = line.split(' - ');
    if (file?.startsWith('cgroup2 ')) return mount?.split(' ')[4];
  }
  return undefined;
}

/** Makes a leaf named after the helper's pid and the program, and attaches the rules. */
export function createEgressCgroup(sys: Sys, name: string, rules: EgressRules): EgressCgroup {
  const programs = buildEgressPrograms(rules);
  const mount = findCgroup2(readFile(sys, '/proc/self/mountinfo', 1 << 22));
  if (mount === undefined) {
    throw new TskataError(
      Code.FailedPrecondition,
      'restrict the network: no cgroup v2 is mounted - mount one (mount -t cgroup2 none /sys/fs/cgroup/unified)',
    );
  }
  const path = `${mount}/tskata/${name}`;
  mkdirAll(sys, `${mount}/tskata`, 0o755);
  mkdir(sys, path);
  try {
    const fd = open(sys, path, O.RDONLY | O.DIRECTORY);
    try {
      for (const program of programs) attach(sys, fd, program);
      return { fd, path };
    } catch (error) {
      close(sys, fd);
      throw error;
    }
  } catch (error) {
    removeCgroup(sys, path);
    throw error;
  }
}

/** Removes a leaf whose processes have ended. One that is gone already is fine. */
export function removeCgroup(sys: Sys, path: string): void {
  try {
    unlink(sys, path, AT.REMOVEDIR);
  } catch (error) {
    if (!isErrno(error, E.ENOENT)) throw error;
  }
}

function attach(sys: Sys, cgroupFd: number, program: EgressProgram): void {
  const fd = load(sys, program);
  try {
    const attr = new Uint8Array(BPF_ATTR_BYTES);
    const view = viewOf(attr);
    view.setUint32(0, cgroupFd, true);
    view.setUint32(4, fd, true);
    view.setUint32(8, program.attachType, true);
    check(sys.call(SYS.bpf, BPF_PROG_ATTACH, attr, attr.length), 'attach eBPF program', program.name);
  } finally {
    close(sys, fd);
  }
}

function load(sys: Sys, program: EgressProgram): number {
  const licence = new Uint8Array([0x41, 0x70, 0x61, 0x63, 0x68, 0x65, 0]);
  const attr = new Uint8Array(BPF_ATTR_BYTES);
  const view = viewOf(attr);
  view.setUint32(0, program.programType, true);
  view.setUint32(4, program.code.length / 8, true);
  view.setBigUint64(8, sys.address(program.code), true);
  view.setBigUint64(16, sys.address(licence), true);
  // expected_attach_type; the name and the flags before it stay zero.
  view.setUint32(68, program.attachType, true);
  const result = sys.call(SYS.bpf, BPF_PROG_LOAD, attr, attr.length);
  return check(result, 'load eBPF program', program.name);
}
