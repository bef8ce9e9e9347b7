/**
 * The list of a sandbox's cgroups, as a file in the run root that is written before they are made: whoever cleans up
 * after a keeper that was killed finds them by it. It is named after the keeper, so that nobody takes a living one's.
 */
import { exists, mkdirAll, readDirectory, readFile, rename, unlink, writeFile } from '../../agent/sys/calls.ts';
import { O } from '../../agent/sys/linux.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { removeGroup } from './group-files.ts';
import { isAlive, type ProcessRef } from './process-ref.ts';

const MAX_BYTES = 1 << 16;

/** Directories in the order in which they can be removed. */
export interface GroupList {
  readonly groups: readonly string[];
  /** Removed as well when nothing else is in them. */
  readonly parents: readonly string[];
}

/** Marks a parent's line. */
const PARENT = '?';

/** Where the list of a keeper is. */
export function groupListPath(runRoot: string, keeper: ProcessRef): string {
  return `${runRoot}/cgroups/${keeper.pid}-${keeper.startTicks}`;
}

/** Writes the list. Returns its own path. */
export function writeGroupList(sys: Sys, runRoot: string, keeper: ProcessRef, list: GroupList): string {
  mkdirAll(sys, `${runRoot}/cgroups`, 0o700);
  const file = groupListPath(runRoot, keeper);
  const lines = [...list.groups, ...list.parents.map((path) => `${PARENT}${path}`)];
  writeFile(sys, `${file}.tmp`, lines.join('\n'), O.WRONLY | O.CREAT | O.TRUNC | O.NOFOLLOW, 0o600);
  rename(sys, `${file}.tmp`, file);
  return file;
}

/** Removes the groups of a list, and the list when none is left. Returns what was removed. */
export function removeListed(sys: Sys, file: string): string[] {
  const lines = readFile(sys, file, MAX_BYTES).split('\n');
  const groups = lines.filter((line) => line.startsWith('/') && exists(sys, line));
  const removed = groups.filter((path) => removeGroup(sys, path));
  if (removed.length < groups.length) return removed;
  for (const line of lines) if (line.startsWith(PARENT)) removeGroup(sys, line.slice(PARENT.length));
  unlink(sys, file);
  return removed;
}

/** Removes what dead keepers left. A group whose processes are just ending is left for the next time. */
export function removeDeadGroups(sys: Sys, runRoot: string): string[] {
  const directory = `${runRoot}/cgroups`;
  if (!exists(sys, directory)) return [];
  const removed: string[] = [];
  for (const { name } of readDirectory(sys, directory)) {
    const match = /^(\d+)-(\d+)(\.tmp)?$/.exec(name);
    if (match === null || isAlive(sys, { pid: Number(match[1]), startTicks: Number(match[2]) })) continue;
    if (match[3] === undefined) removed.push(...removeListed(sys, `${directory}/${name}`));
    else unlink(sys, `${directory}/${name}`);
  }
  return removed;
}
