/**
 * A cgroup v2 leaf for one confined program, so that eBPF programs apply to it and to nothing else. It sets no
 * resource limits. Works on the unified hierarchy and on the v2 part of a hybrid one.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { attachBpf } from '../../agent/sys/bpf.ts';
import { close, mkdir, mkdirAll, open, readFile, unlink } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { isErrno } from '../../agent/sys/errors.ts';
import { AT, O } from '../../agent/sys/linux.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { buildEgressPrograms, type EgressRules } from './egress.ts';
import { findCgroup2 } from './hierarchies.ts';

/** A directory of the v2 hierarchy with rules on it. */
export interface EgressCgroup {
  /** For the spawn: the child is born in it. */
  readonly fd: number;
  readonly path: string;
}

/** Where the leaf of a program goes when its sandbox has no v2 group of its own: named after the helper's pid. */
export function egressPath(sys: Sys, name: string): string {
  const mount = findCgroup2(readFile(sys, '/proc/self/mountinfo', 1 << 22));
  if (mount === undefined) {
    throw new TskataError(
      Code.FailedPrecondition,
      'restrict the network: no cgroup v2 is mounted - mount one (mount -t cgroup2 none /sys/fs/cgroup/unified)',
    );
  }
  mkdirAll(sys, `${mount}/tskata`, 0o755);
  return `${mount}/tskata/${name}`;
}

/** Makes a leaf and attaches the rules. */
export function createEgressCgroup(sys: Sys, path: string, rules: EgressRules): EgressCgroup {
  const programs = buildEgressPrograms(rules);
  mkdir(sys, path);
  try {
    const fd = open(sys, path, O.RDONLY | O.DIRECTORY);
    try {
      for (const program of programs) close(sys, attachBpf(sys, fd, program));
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
