/**
 * Owns masked and read-only paths (OCI config-linux.md). A path that the container does not have is skipped; one that
 * it has and that cannot be covered is an error.
 */
import { E } from '../../sys/errno.ts';
import { MOUNT_ATTR, MS, O } from '../../sys/linux.ts';
import { SYS } from '../../sys/syscalls.ts';
import type { PlanBuilder } from './builder.ts';
import type { MountScope } from './mounts.ts';

/**
 * A descriptor number far above what a plan opens. mount(2) tells a file from a directory by ENOTDIR (move_mount says
 * EINVAL for that and for much else) but takes no descriptor, so the target is named by a number known in advance.
 */
const TARGET_FD = 500;
const TARGET = `/proc/self/fd/${TARGET_FD}`;

/** Covers files with /dev/null and directories with an empty read-only tmpfs. */
export function maskSteps(plan: PlanBuilder, scope: MountScope, paths: readonly string[]): void {
  for (const path of paths) {
    const label = `mask ${path}`;
    plan.find(label, scope.root, path, scope.target, true);
    plan.call(label, SYS.close, [TARGET_FD], { ignore: [E.EBADF] });
    // EBADF: the path does not exist. Then TARGET does not either, and both mounts say ENOENT.
    plan.call(label, SYS.dup3, [scope.target, TARGET_FD, O.CLOEXEC], { ignore: [E.EBADF] });
    plan.call(label, SYS.mount, ['/dev/null', TARGET, null, MS.BIND, null], { ignore: [E.ENOENT, E.ENOTDIR] });
    const data = 'size=0,nr_inodes=1,mode=755';
    plan.call(label, SYS.mount, ['tmpfs', TARGET, 'tmpfs', MS.RDONLY, data], { ignore: [E.ENOENT, E.ENOTDIR] });
  }
  plan.call('close the masked path', SYS.close, [TARGET_FD], { ignore: [E.EBADF] });
}

/** Makes existing paths, and what is mounted below them, read-only. */
export function readOnlySteps(plan: PlanBuilder, scope: MountScope, paths: readonly string[]): void {
  for (const path of paths) {
    const label = `make ${path} read-only`;
    plan.find(label, scope.root, path, scope.target, true);
    plan.cloneTree(label, scope.target, true, scope.mount, [E.EBADF]);
    plan.setMountAttr(label, scope.mount, { set: MOUNT_ATTR.RDONLY, recursive: true }, [E.EBADF]);
    plan.attach(label, scope.mount, scope.target, [E.EBADF]);
  }
}
