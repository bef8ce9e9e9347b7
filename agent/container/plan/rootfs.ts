/**
 * Owns the container's root as a mount: made its own, entered by pivot_root, the guest's root taken away.
 */

import { AT, MNT, MS, O } from '../../sys/linux.ts';
import type { SlotRef } from '../../sys/plan.ts';
import { SYS } from '../../sys/syscalls.ts';
import type { PlanBuilder } from './builder.ts';
import { parsePropagation } from './mount-options.ts';

/** Where a container's root comes from. */
export interface RootSource {
  /** Mount point of a storage. */
  readonly path: string;
  /** Below it: relative, without "..". */
  readonly subpath: string;
}

/** A private mount of the root on a directory of the agent's; its descriptor is what everything resolves from. */
export function ownRootSteps(plan: PlanBuilder, source: RootSource, mountPoint: string, root: SlotRef): void {
  const label = 'clone the root file system';
  if (source.subpath === '') {
    plan.cloneTree(label, source.path, true, root);
  } else {
    plan.call(label, SYS.openat, [AT.FDCWD, source.path, O.PATH | O.CLOEXEC, 0], { result: root });
    plan.findDirectory(`${label}: find its directory`, root, source.subpath, root);
    plan.cloneTree(label, root, true, root);
  }
  plan.setMountAttr('make the root file system private', root, { propagation: MS.PRIVATE, recursive: true });
  plan.attach('mount the root file system', root, mountPoint);
}

/** Enters the root for good. pivot_root(".", ".") stacks the old root on the new one, from where it is detached. */
export function pivotSteps(plan: PlanBuilder, root: SlotRef): void {
  const old = plan.slot();
  plan.call('open the old root', SYS.openat, [AT.FDCWD, '/', O.PATH | O.DIRECTORY | O.CLOEXEC, 0], { result: old });
  plan.call('enter the new root', SYS.fchdir, [root]);
  plan.call('pivot to the new root', SYS.pivot_root, ['.', '.']);
  plan.call('enter the old root', SYS.fchdir, [old]);
  // The unmounting below must not spread to the sandbox.
  plan.call('make the old root a slave', SYS.mount, [null, '.', null, MS.SLAVE | MS.REC, null]);
  plan.call('detach the old root', SYS.umount2, ['.', MNT.DETACH]);
  plan.call('enter /', SYS.chdir, ['/']);
}

/** Propagation of the whole root, last: pivot_root refuses a shared one. */
export function propagationSteps(plan: PlanBuilder, propagation: string): void {
  const parsed = parsePropagation(propagation);
  if (parsed === undefined) return;
  const flags = parsed.type | (parsed.recursive ? MS.REC : 0);
  plan.call(`make / ${propagation}`, SYS.mount, [null, '/', null, flags, null]);
}
