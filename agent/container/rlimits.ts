/**
 * Owns the resource limits of a process (OCI config.md, "rlimits"). The agent sets them from outside, while the child
 * stands before its exec: the root of a user namespace could not raise them itself.
 */

import { check } from '../sys/errors.ts';
import { RLIMIT } from '../sys/linux.ts';
import { rlimit } from '../sys/structs.ts';
import type { Sys } from '../sys/sys.ts';
import { SYS } from '../sys/syscalls.ts';
import type { Rlimit } from './spec.ts';

const resources: ReadonlyMap<string, number> = new Map(
  Object.entries(RLIMIT).map(([name, number]) => [`RLIMIT_${name}`, number]),
);

/** Whether "RLIMIT_NOFILE" names a limit. */
export function isRlimit(type: string): boolean {
  return resources.has(type);
}

/** Throws SysError for limits that the kernel refuses (soft above hard). */
export function applyRlimits(sys: Sys, pid: number, rlimits: readonly Rlimit[]): void {
  for (const { type, soft, hard } of rlimits) {
    const resource = resources.get(type);
    if (resource === undefined) continue;
    check(sys.call(SYS.prlimit64, pid, resource, rlimit(soft, hard), null), 'set', `${type} to ${soft}:${hard}`);
  }
}
