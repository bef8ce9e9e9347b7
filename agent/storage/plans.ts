/**
 * Owns the plans that make and undo storages: children in the guest's own mount namespace that do nothing but mount.
 * Pure functions; who waits for the child, and how long, is said in `storages.ts`.
 */

import { PlanBuilder } from '../container/plan/builder.ts';
import { E } from '../sys/errno.ts';
import { AT, MNT, MS, O } from '../sys/linux.ts';
import type { SpawnPlan } from '../sys/plan.ts';
import { SYS } from '../sys/syscalls.ts';

/** File systems that a disk may carry. */
export const BLOCK_TYPES: ReadonlySet<string> = new Set(['squashfs', 'erofs', 'ext4']);

/** Directories of a writable disk that an overlay uses. */
export const UPPER = 'upper';
export const WORK = 'work';

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
  if (!readOnly) {
    for (const name of [UPPER, WORK]) {
      const path = `${target}/${name}`;
      plan.call(`make ${path}`, SYS.mkdirat, [AT.FDCWD, path, 0o755], { ignore: [E.EEXIST] });
    }
  }
  return finish(plan);
}

/** Mounts a share. */
export function planShare(tag: string, target: string): SpawnPlan {
  const plan = new PlanBuilder();
  const label = `mount share ${tag} on ${target}`;
  plan.call(label, SYS.mount, [tag, target, 'virtiofs', MS.NODEV, null]);
  return finish(plan);
}

/** Mounts an overlay of directories, lowest first. */
export function planOverlay(lowers: readonly string[], upper: string | undefined, target: string): SpawnPlan {
  const plan = new PlanBuilder();
  const label = `mount overlay on ${target}`;
  const single = lowers[0];
  if (upper === undefined && lowers.length === 1 && single !== undefined) {
    // The kernel refuses an overlay of one read-only layer.
    plan.call(label, SYS.mount, [single, target, null, MS.BIND, null]);
    return finish(plan);
  }
  const options = [`lowerdir=${[...lowers].reverse().join(':')}`];
  if (upper !== undefined) {
    // The upper disk lives as long as its container: what the kernel would sync for a reboot is never read again.
    options.push(`upperdir=${upper}/${UPPER}`, `workdir=${upper}/${WORK}`, 'volatile');
    // The mark of an earlier volatile mount of this disk. That mount was undone in order: a guest that was not has ended.
    const gone = { ignore: [E.ENOENT, E.ENOTDIR] };
    const marks = [
      ['incompat/volatile/dirty', 0],
      ['incompat/volatile', AT.REMOVEDIR],
      ['incompat', AT.REMOVEDIR],
    ] as const;
    for (const [mark, flags] of marks) {
      const path = `${upper}/${WORK}/${WORK}/${mark}`;
      plan.call(`remove ${path}`, SYS.unlinkat, [AT.FDCWD, path, flags], gone);
    }
  }
  plan.call(label, SYS.mount, ['overlay', target, 'overlay', MS.NOATIME, options.join(',')]);
  return finish(plan);
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
