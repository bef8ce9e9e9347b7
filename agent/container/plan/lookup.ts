/**
 * Owns the plan that copies /etc/passwd and /etc/group of a container into two pipes. It runs in a child of its own
 * because a file of a container may be on a share that never answers.
 */
import { E } from '../../sys/errno.ts';
import { AT, O, RESOLVE } from '../../sys/linux.ts';
import type { SlotRef, SpawnPlan } from '../../sys/plan.ts';
import { SYS } from '../../sys/syscalls.ts';
import { PlanBuilder } from './builder.ts';

/** Bound of one file; a larger one is read up to here. */
export const MAX_USER_FILE_BYTES = 1024 * 1024;

/** What the plan is computed from. */
export interface LookupInput {
  /** Root directory to look in: a path of the guest, and a relative path below it. "/" with `enter`. */
  readonly root: string;
  readonly subpath: string;
  readonly enter?: SpawnPlan['enter'];
  readonly cgroupFd: number;
  /** Writing ends of the pipes. */
  readonly passwdFd: number;
  readonly groupFd: number;
}

/** Computes the plan. A missing file, or one that is not a file, is an empty one. */
export function planLookup(input: LookupInput): SpawnPlan {
  const plan = new PlanBuilder();
  const passwd = plan.slot();
  const group = plan.slot();
  const root = plan.slot();
  const file = plan.slot();
  const label = 'look up the user';
  plan.call(label, SYS.openat, [AT.FDCWD, input.root, O.PATH | O.DIRECTORY | O.CLOEXEC, 0], { result: root });
  if (input.subpath !== '') plan.findDirectory(label, root, input.subpath, root);
  copySteps(plan, root, 'etc/passwd', file, passwd);
  copySteps(plan, root, 'etc/group', file, group);
  plan.steps.push({ op: 'exit', status: 0, label });
  return {
    cloneFlags: 0,
    cgroupFd: input.cgroupFd,
    ...(input.enter === undefined ? {} : { enter: input.enter }),
    slots: { [passwd.slot]: input.passwdFd, [group.slot]: input.groupFd },
    steps: plan.steps,
  };
}

function copySteps(plan: PlanBuilder, root: SlotRef, path: string, file: SlotRef, pipe: SlotRef): void {
  const label = `read /${path} of the container`;
  // Non-blocking: a FIFO of this name must not hold us.
  const how = { flags: O.RDONLY | O.NONBLOCK | O.NOCTTY, resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS };
  plan.open(label, root, path, how, {
    result: file,
    ignore: [E.ENOENT, E.ENOTDIR, E.ELOOP, E.EACCES, E.ENXIO, E.EPERM],
  });
  const ignore = [E.EBADF, E.EINVAL, E.EISDIR, E.EPIPE, E.EAGAIN];
  plan.call(label, SYS.sendfile, [pipe, file, null, MAX_USER_FILE_BYTES], { ignore });
  plan.call(label, SYS.close, [pipe]);
  plan.call(label, SYS.close, [file], { ignore: [E.EBADF] });
}
