/**
 * Owns "tmpcopyup": a tmpfs that begins with what the image has at its place. The tree is the image's, of any size and
 * on any storage, so a process of its own copies it: this program again, in another mode (`copyUpMain`).
 */
import { Launch, type LaunchTools, runPlan, StepError } from '../container/launch.ts';
import { PlanBuilder } from '../container/plan/builder.ts';
import { parseMountOptions } from '../container/plan/mount-options.ts';
import type { RootSource } from '../container/plan/rootfs.ts';
import type { Mount } from '../container/spec.ts';
import { Code, TskataError } from '../protocol/errors.ts';
import type { Scope } from '../protocol/scope.ts';
import { mkdirAll } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { isErrno } from '../sys/errors.ts';
import { AT, MS, O, SIG } from '../sys/linux.ts';
import type { SpawnPlan } from '../sys/plan.ts';
import { SYS } from '../sys/syscalls.ts';
import { planUnmount } from './plans.ts';

/** argv[1] of the copying process. */
export const COPY_UP_MODE = 'copy-up';
/** Its descriptors: from, to. */
export const COPY_UP_FROM = 3;
export const COPY_UP_TO = 4;

const TIMEOUT_MS = 30_000;
const FIND = 'find what to copy';

/** What the plan is computed from. */
export interface CopyUpInput {
  readonly root: RootSource;
  readonly mount: Mount;
  /** Directory of the agent's on which the tmpfs is made. */
  readonly target: string;
  readonly cgroupFd: number;
}

/** The plan: the tmpfs, and the copying program. */
export function planCopyUp({ root, mount, target, cgroupFd }: CopyUpInput): SpawnPlan {
  const plan = new PlanBuilder();
  const [source, destination, nothing] = [plan.slot(), plan.slot(), plan.slot()];
  const { data } = parseMountOptions(mount.options, mount.type);
  const label = `mount tmpfs for ${mount.destination}`;
  plan.call(label, SYS.mount, ['tmpfs', target, 'tmpfs', MS.NOATIME, data.join(',')]);
  plan.call(label, SYS.openat, [AT.FDCWD, target, O.RDONLY | O.DIRECTORY | O.CLOEXEC, 0], { result: destination });
  plan.call(FIND, SYS.openat, [AT.FDCWD, root.path, O.PATH | O.CLOEXEC, 0], { result: source });
  if (root.subpath !== '') plan.findDirectory(FIND, source, root.subpath, source);
  plan.find(FIND, source, mount.destination, source);
  plan.call(label, SYS.openat, [AT.FDCWD, '/dev/null', O.RDWR | O.CLOEXEC, 0], { result: nothing });
  plan.steps.push({ op: 'stdio', fds: [nothing, nothing, nothing, source, destination], label });
  const owned = data.some((word) => /^(mode|uid|gid)=/.test(word));
  plan.steps.push({
    op: 'exec',
    path: '/proc/self/exe',
    argv: ['tskata-agent', COPY_UP_MODE, owned ? 'keep' : 'copy'],
    env: [],
    searchPath: [],
    label: `copy ${mount.destination}`,
  });
  return { cloneFlags: 0, cgroupFd, slots: {}, steps: plan.steps };
}

/** The mounts with every copy-up made: it is bound from then on. */
export async function makeCopyUps(
  tools: LaunchTools,
  mounts: readonly Mount[],
  input: Pick<CopyUpInput, 'root' | 'cgroupFd'> & { readonly directory: string },
  scope: Scope,
): Promise<readonly Mount[]> {
  const made: Mount[] = [];
  for (const mount of mounts) {
    const { copyUp, data } = parseMountOptions(mount.options, mount.type);
    if (!copyUp || mount.type !== 'tmpfs') {
      made.push(mount);
      continue;
    }
    const target = `${input.directory}/tmpfs-${made.length}`;
    mkdirAll(tools.sys, target);
    scope.add(() => runPlan(tools, planUnmount([target], false), TIMEOUT_MS));
    await copy(tools, planCopyUp({ ...input, mount, target }), mount.destination);
    const options = mount.options.filter((word) => !data.includes(word) && word !== 'tmpcopyup');
    made.push({ ...mount, type: 'bind', options, storagePath: target });
  }
  return made;
}

async function copy(tools: LaunchTools, plan: SpawnPlan, destination: string): Promise<void> {
  const launch = new Launch(tools, plan, new Map());
  const cancel = tools.loop.timer(TIMEOUT_MS, () => launch.child.signal(SIG.KILL));
  try {
    await launch.done;
    const { status } = await launch.child.ended;
    if (status !== 0) {
      throw new TskataError(
        Code.FailedPrecondition,
        `copy ${destination} to its tmpfs: the copying ended with ${status}`,
      );
    }
  } catch (error) {
    // The image has nothing there: an empty tmpfs.
    const nothing = error instanceof StepError && error.step?.label === FIND && isErrno(error, E.ENOENT, E.ENOTDIR);
    if (!nothing) throw error;
  } finally {
    cancel();
    launch.child.close();
  }
}
