/**
 * The directories of a sandbox's cgroup: made from the root down with what the kernel wants before a process may enter,
 * filled, written to, emptied and removed. Knows nothing of sandboxes.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { mkdir, readDirectory, readFile, unlink, writeFile } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { isErrno } from '../../agent/sys/errors.ts';
import { AT, DT } from '../../agent/sys/linux.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { type Controller, type Hierarchies, NAMES_2 } from './hierarchies.ts';

/** Another sandbox may remove the parent that we are about to use. */
const MAKE_ATTEMPTS = 5;
const MAX_DEPTH = 32;

/** Leaf of v2 for everything but what has rules of its own. */
export const MAIN = 'main';
/** Leaf of v2 for the one program with rules of its own. */
export const EGRESS = 'egress';

/** One hierarchy in which the group exists. */
export interface GroupDirectory {
  readonly mount: string;
  readonly path: string;
  /** All that are at this mount point; for v2 those that are wanted. */
  readonly controllers: readonly Controller[];
}

/**
 * The directories of a group in which these controllers are, one for each mount point.
 * @throws TskataError InvalidArgument for a path that is none.
 */
export function groupDirectories(
  hierarchies: Hierarchies,
  path: string,
  wanted: readonly Controller[],
): GroupDirectory[] {
  checkPath(path);
  if (hierarchies.version === 2) {
    const { mount } = hierarchies;
    return [{ mount, path: `${mount}${path}`, controllers: wanted }];
  }
  const { mounts } = hierarchies;
  const points = new Set(wanted.flatMap((controller) => mounts.get(controller) ?? []));
  return [...points].map((mount) => {
    const controllers = [...mounts].flatMap(([controller, point]) => (point === mount ? [controller] : []));
    return { mount, path: `${mount}${path}`, controllers };
  });
}

/** The parents of a directory below its mount point, from the top. */
export function parentsOf({ mount, path }: GroupDirectory): string[] {
  const names = path.slice(mount.length + 1).split('/');
  return names.slice(0, -1).map((_, index) => `${mount}/${names.slice(0, index + 1).join('/')}`);
}

/**
 * Makes a group with its parents, ready to be entered. One that exists must hold none but `ours`; undefined: it is ours
 * already, and gets more controllers.
 */
export function makeGroup(sys: Sys, version: 1 | 2, directory: GroupDirectory, ours?: readonly number[]): void {
  for (let attempt = 1; ; attempt++) {
    try {
      for (const parent of parentsOf(directory)) makeLevel(sys, version, directory, parent);
      makeLevel(sys, version, directory, directory.path);
      break;
    } catch (error) {
      if (!isErrno(error, E.ENOENT) || attempt === MAKE_ATTEMPTS) throw error;
    }
  }
  if (ours !== undefined) refuseOthers(sys, version, directory.path, ours);
}

/** Throws AlreadyExists for a group that is somebody's: with processes not of `ours`, or with groups not of our making. */
function refuseOthers(sys: Sys, version: 1 | 2, path: string, ours: readonly number[]): void {
  const refuse = (fact: string): never => {
    throw new TskataError(Code.AlreadyExists, `enter cgroup ${path}: it exists, and ${fact}`);
  };
  const below = readDirectory(sys, path).flatMap(({ name, type }) => (type === DT.DIR ? [name] : []));
  const leaves = version === 2 ? below.filter((name) => name === MAIN || name === EGRESS) : [];
  if (leaves.length < below.length) refuse('has groups below that are not of this sandbox');
  const all = [path, ...leaves.map((name) => `${path}/${name}`)].flatMap((group) => processesIn(sys, group));
  const others = all.filter((pid) => !ours.includes(pid));
  if (others.length > 0) refuse(`holds ${others.length} processes that are not of this sandbox`);
}

/** Moves a process in. */
export function enterGroup(sys: Sys, path: string, pid: number): void {
  writeFile(sys, `${path}/cgroup.procs`, String(pid));
}

/** Removes a directory whose processes have ended. False: it holds some still. One that is gone is fine. */
export function removeGroup(sys: Sys, path: string): boolean {
  try {
    unlink(sys, path, AT.REMOVEDIR);
  } catch (error) {
    if (isErrno(error, E.EBUSY, E.ENOTEMPTY)) return false;
    if (!isErrno(error, E.ENOENT)) throw error;
  }
  return true;
}

/** One level, with what its children need: v1's cpuset starts empty, v2 hands controllers down one level at a time. */
function makeLevel(sys: Sys, version: 1 | 2, { controllers }: GroupDirectory, path: string): void {
  const parent = path.slice(0, path.lastIndexOf('/'));
  if (version === 2) {
    for (const controller of controllers) handDown(sys, parent, NAMES_2[controller]);
  }
  try {
    mkdir(sys, path, 0o755);
  } catch (error) {
    if (!isErrno(error, E.EEXIST)) throw error;
  }
  if (version === 1 && controllers.includes('cpuset')) {
    for (const file of ['cpuset.cpus', 'cpuset.mems']) inherit(sys, parent, path, file);
  }
}

function handDown(sys: Sys, parent: string, controller: string | undefined): void {
  if (controller === undefined) return;
  try {
    writeFile(sys, `${parent}/cgroup.subtree_control`, `+${controller}`);
  } catch {
    // Not there, not handed down to here, or the parent has processes of its own: a limit that misses it is told.
  }
}

function inherit(sys: Sys, parent: string, path: string, file: string): void {
  if (readFile(sys, `${path}/${file}`).trim() !== '') return;
  writeFile(sys, `${path}/${file}`, readFile(sys, `${parent}/${file}`).trim());
}

/** Processes of a group, children of its own not counted. */
export function processesIn(sys: Sys, path: string): number[] {
  const lines = readFile(sys, `${path}/cgroup.procs`).split('\n');
  return lines.filter((line) => line !== '').map(Number);
}

function checkPath(path: string): void {
  const names = path.split('/').slice(1);
  const bad = (name: string): boolean => !/^[^/\s\0]{1,255}$/.test(name) || name === '.' || name === '..';
  if (!path.startsWith('/') || names.length === 0 || names.length > MAX_DEPTH || names.some(bad)) {
    throw new TskataError(Code.InvalidArgument, `enter cgroup ${JSON.stringify(path)}: not a plain absolute path`);
  }
}
