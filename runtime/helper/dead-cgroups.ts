/** The cgroups of dead keepers: listed ones, and those for egress rules, which carry the keeper's pid in their name. */
import { exists, readDirectory, readFile } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { isErrno } from '../../agent/sys/errors.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { removeCgroup } from './cgroup.ts';
import { removeDeadGroups } from './group-list.ts';
import { findCgroup2 } from './hierarchies.ts';
import { startTicks } from './process-ref.ts';

/** Removes and tells which. */
export function removeDeadCgroups(sys: Sys, runRoot: string): string[] {
  const listed = removeDeadGroups(sys, runRoot).map((path) => `cgroup ${path}`);
  return [...listed, ...removeDeadLeaves(sys)];
}

function removeDeadLeaves(sys: Sys): string[] {
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
