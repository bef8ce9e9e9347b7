/** Egress cgroups carry the pid of their keeper in their name: those of dead ones are removed. */
import { exists, readDirectory, readFile } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { isErrno } from '../../agent/sys/errors.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { findCgroup2, removeCgroup } from './cgroup.ts';
import { startTicks } from './process-ref.ts';

/** Removes and tells which. */
export function removeDeadCgroups(sys: Sys): string[] {
  const mount = findCgroup2(readFile(sys, '/proc/self/mountinfo', 1 << 22));
  const parent = `${mount}/tskata`;
  if (mount === undefined || !exists(sys, parent)) return [];
  const removed: string[] = [];
  for (const { name } of readDirectory(sys, parent)) {
    const pid = /^(\d+)-/.exec(name)?.[1];
    if (pid === undefined || startTicks(sys, Number(pid)) !== undefined) continue;
    try {
      removeCgroup(sys, `${parent}/${name}`);
      removed.push(`cgroup ${parent}/${name}`);
    } catch (error) {
      // Its processes are just ending: the next command finds it empty.
      if (!isErrno(error, E.EBUSY)) throw error;
    }
  }
  return removed;
}
