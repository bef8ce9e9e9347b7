/**
 * Owns the tmpfs of the sandbox that its containers share: /dev/shm of a pod, volumes in memory. Each is made by the
 * first who asks and lives until the guest ends, because a container that is started again finds its data there.
 */
import { type LaunchTools, runPlan } from '../container/launch.ts';
import { PlanBuilder } from '../container/plan/builder.ts';
import type { TmpfsStorage } from '../protocol/generated/agent.ts';
import { checkCount, checkRelative, invalid } from '../service/check.ts';
import { AT, MS, O, RESOLVE } from '../sys/linux.ts';
import type { SpawnPlan } from '../sys/plan.ts';
import { SYS } from '../sys/syscalls.ts';

const TIMEOUT_MS = 10_000;
const MAX_DIRECTORIES = 64;
const PERMISSIONS = 0o7777;

/** One tmpfs: made once, given directories now and then. */
export class SharedTmpfs {
  readonly path: string;
  private readonly tools: LaunchTools;
  private readonly directories = new Set<string>();
  private mounted: Promise<void> | undefined;

  /** `path`: an empty directory of the agent's. */
  constructor(tools: LaunchTools, path: string) {
    this.tools = tools;
    this.path = path;
  }

  /** Mounts it if nobody has, and makes what is asked for. A failed mount is tried again by the next. */
  async ensure(field: string, message: TmpfsStorage): Promise<void> {
    checkCount(`${field}.directories`, message.directories, MAX_DIRECTORIES);
    for (const { path } of message.directories) {
      if (checkRelative(`${field}.directories.path`, path) === '')
        throw invalid(`${field}.directories.path`, 'is empty');
    }
    this.mounted ??= runPlan(this.tools, planSharedTmpfs(message, this.path), TIMEOUT_MS).catch((error: unknown) => {
      this.mounted = undefined;
      throw error;
    });
    await this.mounted;
    const missing = message.directories.filter(({ path }) => !this.directories.has(path));
    if (missing.length === 0) return;
    await runPlan(this.tools, planDirectories(missing, this.path), TIMEOUT_MS);
    for (const { path } of missing) this.directories.add(path);
  }
}

/** Mounts the tmpfs. */
export function planSharedTmpfs({ sizeBytes, mode, uid, gid }: TmpfsStorage, target: string): SpawnPlan {
  const plan = new PlanBuilder();
  const words = [`mode=${(mode & PERMISSIONS).toString(8)}`, `uid=${uid}`, `gid=${gid}`];
  if (sizeBytes !== 0n) words.push(`size=${sizeBytes}`);
  plan.call(`mount tmpfs on ${target}`, SYS.mount, ['tmpfs', target, 'tmpfs', MS.NOATIME | MS.NODEV, words.join(',')]);
  return finished(plan);
}

/** Makes directories. A container may have put links where they go: none is followed to give away what it leads to. */
export function planDirectories(directories: TmpfsStorage['directories'], target: string): SpawnPlan {
  const plan = new PlanBuilder();
  const [root, found, directory] = [plan.slot(), plan.slot(), plan.slot()];
  plan.call(`open ${target}`, SYS.openat, [AT.FDCWD, target, O.PATH | O.DIRECTORY | O.CLOEXEC, 0], { result: root });
  for (const { path, mode, uid, gid } of directories) {
    const label = `make directory ${path} of a tmpfs`;
    plan.resolve(label, root, path, 'directory', found);
    const how = { flags: O.RDONLY | O.DIRECTORY, resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS };
    plan.open(label, root, path, how, { result: directory });
    plan.call(label, SYS.fchownat, [directory, '', uid, gid, AT.EMPTY_PATH]);
    plan.call(label, SYS.fchmod, [directory, mode & PERMISSIONS]);
    plan.call(label, SYS.close, [directory]);
  }
  return finished(plan);
}

function finished(plan: PlanBuilder): SpawnPlan {
  plan.steps.push({ op: 'exit', status: 0, label: 'end' });
  return { cloneFlags: 0, slots: {}, steps: plan.steps };
}
