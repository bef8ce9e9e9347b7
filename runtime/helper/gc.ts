/**
 * Mode `gc RUN_ROOT`: what no command of a container's own would find any more. Mounts of this namespace below the run
 * root, sockets that nobody listens on, egress cgroups of dead keepers. Says each thing that it removed, one a line.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { exists, readDirectory, readFile } from '../../agent/sys/calls.ts';
import { AT, DT, MNT, UMOUNT } from '../../agent/sys/linux.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import { removeDeadCgroups } from './dead-cgroups.ts';
import { removeTree } from './remove-tree.ts';
import { isServed, LOCK_MS, withSocketLock } from './start-shim.ts';

/** Removes and tells, in lines. A thing that resists is left for the next time. */
export function collectGarbage(sys: Sys, runRoot: string): string[] {
  // The whole of "/" or of "/run" is nobody's garbage.
  if (!/^(\/[^/]+){2,}$/.test(runRoot) || runRoot.includes('/..')) {
    throw new TskataError(Code.InvalidArgument, `collect garbage: ${JSON.stringify(runRoot)} is no run root`);
  }
  const removed = [
    ...unmountBelow(sys, runRoot),
    ...removeDeadCgroups(sys, runRoot),
    ...withSocketLock(sys, runRoot, LOCK_MS, () => removeStaleSockets(sys, `${runRoot}/s`)),
  ];
  return removed.map((line) => `${line}\n`);
}

/** Mount points strictly below a directory, deepest first, from the text of mountinfo. */
export function mountsBelow(mountinfo: string, directory: string): string[] {
  const points = mountinfo.split('\n').map((line) => unescapeOctal(line.split(' ')[4] ?? ''));
  return points.filter((point) => point.startsWith(`${directory}/`)).reverse();
}

function unmountBelow(sys: Sys, directory: string): string[] {
  const removed: string[] = [];
  for (const point of mountsBelow(readFile(sys, '/proc/self/mountinfo', 1 << 22), directory)) {
    if (sys.call(SYS.umount2, point, MNT.DETACH | UMOUNT.NOFOLLOW) === 0) removed.push(`mount ${point}`);
  }
  return removed;
}

function removeStaleSockets(sys: Sys, directory: string): string[] {
  if (!exists(sys, directory)) return [];
  const removed: string[] = [];
  for (const { name, type } of readDirectory(sys, directory)) {
    const path = `${directory}/${name}`;
    if (type === DT.DIR && name.endsWith('.d') && !isServed(sys, path.replace(/\.d$/, '.sock'))) {
      removeTree(sys, path);
      removed.push(`directory ${path}`);
    }
    if (type !== DT.SOCK || isServed(sys, path)) continue;
    if (sys.call(SYS.unlinkat, AT.FDCWD, path, 0) === 0) removed.push(`socket ${path}`);
  }
  return removed;
}

/** Blanks and the like are octal in mountinfo. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
