/**
 * Owns the plans that make and undo storages: children in the guest's own mount namespace that do nothing but mount.
 * Pure functions; who waits for the child, and how long, is said in `storages.ts`.
 */

import { PlanBuilder } from '../container/plan/builder.ts';
import { E } from '../sys/errno.ts';
import { AT, MNT, MOUNT_ATTR, MS, O, PR } from '../sys/linux.ts';
import type { SpawnPlan } from '../sys/plan.ts';
import { mountAttr } from '../sys/structs.ts';
import { SYS } from '../sys/syscalls.ts';
import type { IdMap } from './id-map.ts';

/** File systems that a disk may carry. */
export const BLOCK_TYPES: ReadonlySet<string> = new Set(['squashfs', 'erofs', 'ext4']);

/** Directories of a writable disk that an overlay uses. */
const UPPER = 'upper';
const WORK = 'work';

const SECBIT_NO_SETUID_FIXUP = 4;

function finish(plan: PlanBuilder): SpawnPlan {
  plan.steps.push({ op: 'exit', status: 0, label: 'end' });
  return { cloneFlags: 0, slots: {}, steps: plan.steps };
}

/** Mounts a disk. It may be a container's root itself, so devices and setuid bits keep their meaning. */
export function planBlock(node: string, fsType: string, readOnly: boolean, target: string): SpawnPlan {
  const plan = new PlanBuilder();
  const label = `mount ${fsType} disk on ${target}`;
  const flags = MS.NOATIME | (readOnly ? MS.RDONLY : 0);
  plan.call(label, SYS.mount, [node, target, fsType, flags, null]);
  return finish(plan);
}

/** Mounts a share. */
export function planShare(tag: string, target: string): SpawnPlan {
  const plan = new PlanBuilder();
  const label = `mount share ${tag} on ${target}`;
  plan.call(label, SYS.mount, [tag, target, 'virtiofs', MS.NODEV, null]);
  return finish(plan);
}

/**
 * Has the kernel mount what a share announces at these places, in the guest's own mount namespace: every container then
 * gets a copy of the one mount. Found for the first time by a container, it would be that container's alone, with
 * inodes of its own for the same files.
 */
export function planVisit(share: string, subpaths: readonly string[]): SpawnPlan {
  const plan = new PlanBuilder();
  const [root, found] = [plan.slot(), plan.slot()];
  plan.call(`open ${share}`, SYS.openat, [AT.FDCWD, share, O.PATH | O.DIRECTORY | O.CLOEXEC, 0], { result: root });
  for (const subpath of subpaths) plan.findDirectory(`visit ${share}/${subpath}`, root, subpath, found);
  return finish(plan);
}

/**
 * Drops what is remembered of names that are gone from a share. An exclusive create asks the host about its name,
 * however fresh the kernel's knowledge of it is, and what is gone is dropped with all below it. The root of a share is
 * read-only: nothing is made.
 */
export function planForget(share: string, names: readonly string[]): SpawnPlan {
  const plan = new PlanBuilder();
  for (const name of names) {
    const path = `${share}/${name}`;
    plan.call(`forget ${path}`, SYS.mkdirat, [AT.FDCWD, path, 0], { ignore: [E.EROFS, E.EEXIST, E.EACCES, E.EPERM] });
  }
  return finish(plan);
}

/** Directories that an overlay is made of. */
export interface OverlayInput {
  /** Lowest first. */
  readonly lowers: readonly string[];
  /** A writable disk. */
  readonly upper?: string;
  readonly target: string;
  /** Owners as a user namespace maps them: the layers are mounted once more, with this mapping. */
  readonly idMap?: IdMap;
}

/** Where the mapped mount of the n-th directory (lowers, then upper) of an overlay is. */
export function mappedPath(target: string, index: number): string {
  return `${target}.map${index}`;
}

/** Mounts an overlay. */
export function planOverlay(input: OverlayInput): SpawnPlan {
  const { target, idMap } = input;
  const plan = new PlanBuilder();
  const sources = [...input.lowers, ...(input.upper === undefined ? [] : [input.upper])];
  const slots: Record<number, number> = {};
  const paths = idMap === undefined ? sources : mapSteps(plan, sources, target, idMap, slots);
  const upper = input.upper === undefined ? undefined : paths[paths.length - 1];
  const lowers = paths.slice(0, input.lowers.length);
  const label = `mount overlay on ${target}`;
  const single = lowers[0];
  if (upper === undefined && lowers.length === 1 && single !== undefined) {
    // The kernel refuses an overlay of one read-only layer.
    plan.call(label, SYS.mount, [single, target, null, MS.BIND, null]);
  } else {
    const options = [`lowerdir=${[...lowers].reverse().join(':')}`];
    if (upper !== undefined) {
      // The upper disk lives as long as its container: what the kernel would sync for a reboot is never read again.
      options.push(`upperdir=${upper}/${UPPER}`, `workdir=${upper}/${WORK}`, 'volatile');
      for (const name of [UPPER, WORK]) {
        const path = `${input.upper}/${name}`;
        plan.call(`make ${path}`, SYS.mkdirat, [AT.FDCWD, path, 0o755], { ignore: [E.EEXIST] });
      }
      unmarkSteps(plan, input.upper ?? '');
    }
    if (idMap !== undefined) actAsSteps(plan, idMap);
    plan.call(label, SYS.mount, ['overlay', target, 'overlay', MS.NOATIME, options.join(',')]);
  }
  plan.steps.push({ op: 'exit', status: 0, label: 'end' });
  return { cloneFlags: 0, slots, steps: plan.steps };
}

/** The mark of an earlier volatile mount of this disk. That mount was undone in order: a guest that was not has ended. */
function unmarkSteps(plan: PlanBuilder, upper: string): void {
  const marks = [
    ['incompat/volatile/dirty', 0],
    ['incompat/volatile', AT.REMOVEDIR],
    ['incompat', AT.REMOVEDIR],
  ] as const;
  for (const [mark, flags] of marks) {
    const path = `${upper}/${WORK}/${WORK}/${mark}`;
    plan.call(`remove ${path}`, SYS.unlinkat, [AT.FDCWD, path, flags], { ignore: [E.ENOENT, E.ENOTDIR] });
  }
}

function mapSteps(
  plan: PlanBuilder,
  sources: readonly string[],
  target: string,
  idMap: IdMap,
  slots: Record<number, number>,
): readonly string[] {
  // The number of the descriptor is the same in the child, and stays open there because a slot holds it.
  slots[plan.slot().slot] = idMap.fd;
  const tree = plan.slot();
  const attr = mountAttr(MOUNT_ATTR.IDMAP, 0, 0, idMap.fd);
  return sources.map((source, index) => {
    const path = mappedPath(target, index);
    const label = `map owners of ${source}`;
    plan.call(label, SYS.mkdirat, [AT.FDCWD, path, 0o755], { ignore: [E.EEXIST] });
    plan.cloneTree(label, source, false, tree);
    plan.call(label, SYS.mount_setattr, [tree, '', AT.EMPTY_PATH, attr, attr.length]);
    plan.attach(label, tree, path);
    return path;
  });
}

/**
 * The overlay writes to its upper directory as whoever mounts it: that must be somebody whom the mapping knows, with
 * all the privileges of root.
 */
function actAsSteps(plan: PlanBuilder, idMap: IdMap): void {
  plan.call('keep capabilities', SYS.prctl, [PR.SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0]);
  plan.call('act as the mapped group', SYS.setfsgid, [idMap.gid]);
  plan.call('act as the mapped user', SYS.setfsuid, [idMap.uid]);
}

/** Mounts a tmpfs. 0 bytes: half of the guest's memory, the kernel's default. */
export function planTmpfs(sizeBytes: bigint, target: string): SpawnPlan {
  const plan = new PlanBuilder();
  const data = sizeBytes === 0n ? 'mode=755' : `mode=755,size=${sizeBytes}`;
  plan.call(`mount tmpfs on ${target}`, SYS.mount, ['tmpfs', target, 'tmpfs', MS.NOATIME, data]);
  return finish(plan);
}

/** Shares what is mounted below `target`, so that a container's mounts can spread: "rshared" binds. */
export function planMakeShared(target: string): SpawnPlan {
  const plan = new PlanBuilder();
  plan.call(`share mounts of ${target}`, SYS.mount, [null, target, null, MS.SHARED, null]);
  return finish(plan);
}

/** Unmounts in order. A mount point that is gone already is no error; a busy one vanishes with its last user. */
export function planUnmount(targets: readonly string[], sync: boolean): SpawnPlan {
  const plan = new PlanBuilder();
  for (const target of targets) {
    if (sync) {
      const directory = plan.slot();
      const label = `sync ${target}`;
      plan.call(label, SYS.openat, [AT.FDCWD, target, O.RDONLY | O.DIRECTORY | O.CLOEXEC, 0], {
        result: directory,
        ignore: [E.ENOENT, E.EACCES],
      });
      plan.call(label, SYS.syncfs, [directory], { ignore: [E.EBADF, E.EIO] });
      plan.call(label, SYS.close, [directory], { ignore: [E.EBADF] });
    }
    plan.call(`unmount ${target}`, SYS.umount2, [target, MNT.DETACH], { ignore: [E.EINVAL, E.ENOENT] });
    plan.call(`remove ${target}`, SYS.unlinkat, [AT.FDCWD, target, AT.REMOVEDIR], { ignore: [E.ENOENT, E.EBUSY] });
  }
  return finish(plan);
}
