/**
 * The host cgroup of one sandbox: keeper and shim move in, everything that the keeper starts is born there, and at the
 * end they move out and it goes. In v2 a group that has groups below holds no processes itself: they are in leaves.
 *
 * Below a parent of somebody's all controllers are there from the start, as the parent's limits and weights must hold.
 * Below our own those are that count. The others (cpu, cpuset) are joined when there is such a limit: a group of its own
 * has a weight of its own, whatever runs in it, and nobody asked for that.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { GroupLimits as LimitsMessage } from '../../agent/protocol/generated/helper.ts';
import { exists, mkdir, readFile, writeFile } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { SysError } from '../../agent/sys/errors.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import {
  EGRESS,
  enterGroup,
  type GroupDirectory,
  groupDirectories,
  MAIN,
  makeGroup,
  parentsOf,
  processesIn,
} from './group-files.ts';
import { removeListed, writeGroupList } from './group-list.ts';
import { type Controller, findHierarchies, type GroupWrite, groupWrites, type Hierarchies } from './hierarchies.ts';
import { startTicks } from './process-ref.ts';

/** As a list of CPUs or memory nodes: all that the parent has. */
const INHERIT = 'inherit';
const COUNTING: readonly Controller[] = ['memory', 'pids', 'blkio', 'cpuacct'];
const ALL: readonly Controller[] = [...COUNTING, 'cpu', 'cpuset'];

/** Whose group, and where its list is kept. */
export interface GroupOwner {
  readonly runRoot: string;
  readonly keeperPid: number;
  readonly shimPid: number;
}

/** Which group. */
interface GroupPlace {
  /** Below the root of each hierarchy. */
  readonly path: string;
  /** The groups above are nobody else's, and go with the last sandbox. */
  readonly ownParents: boolean;
}

export class SandboxGroup {
  readonly #sys: Sys;
  readonly #owner: GroupOwner;
  readonly #place: GroupPlace;
  readonly #hierarchies: Hierarchies;
  readonly #directories: GroupDirectory[] = [];
  /** Directories that go at the end, and parents that go when they are empty. */
  readonly #removable = { groups: [] as string[], parents: [] as string[] };
  #list: string | undefined;
  /** How to move each process back: mount point to path below it. */
  readonly #origins = new Map<number, Map<string, string>>();

  /** Makes the group and moves both processes in. What fails leaves nothing. */
  constructor(sys: Sys, owner: GroupOwner, place: GroupPlace) {
    const hierarchies = findHierarchies(readFile(sys, '/proc/self/mountinfo', 1 << 22));
    if (hierarchies === undefined) {
      const cure = 'mount them, or set enabled = false in [cgroup] of the configuration';
      throw new TskataError(Code.FailedPrecondition, `enter cgroup ${place.path}: no cgroups are mounted - ${cure}`);
    }
    this.#sys = sys;
    this.#owner = owner;
    this.#place = place;
    this.#hierarchies = hierarchies;
    try {
      this.#join(place.ownParents ? COUNTING : ALL);
    } catch (error) {
      this.leave();
      throw error;
    }
  }

  /** Where a v2 leaf for a program with rules of its own goes; undefined: this host has v1 controllers. */
  get egressPath(): string | undefined {
    return this.#hierarchies.version === 2 ? `${this.#directories[0]?.path}/${EGRESS}` : undefined;
  }

  /** Writes limits. Returns the control files that this host does not have, and whose limits do not hold. */
  limit(limits: LimitsMessage): string[] {
    const all = groupWrites(this.#hierarchies.version, limits);
    const writes = all.filter(({ controller, value }) => value !== INHERIT || this.#at(controller) !== undefined);
    this.#join([...new Set(writes.map(({ controller }) => controller))]);
    return writes.flatMap((write) => (this.#write(write) ? [] : [write.file]));
  }

  /** Moves both processes back to where they came from and removes the group. What it holds still is left to others. */
  leave(): void {
    for (const [pid, origins] of this.#origins) {
      for (const [mount, path] of origins) this.#moveOut(pid, mount, path);
    }
    if (this.#list !== undefined) removeListed(this.#sys, this.#list);
    this.#list = undefined;
  }

  /** Has the group under these controllers too, with all that it holds already. */
  #join(controllers: readonly Controller[]): void {
    const missing = controllers.filter((controller) => this.#at(controller) === undefined);
    if (missing.length === 0) return;
    const { version } = this.#hierarchies;
    const { shimPid, keeperPid } = this.#owner;
    const [joined] = this.#directories;
    // In v2 it is one group, in which everything is already.
    const inside = joined !== undefined && version === 2;
    const pids = joined === undefined || inside ? [shimPid, keeperPid] : processesIn(this.#sys, joined.path);
    const directories = groupDirectories(this.#hierarchies, this.#place.path, missing);
    this.#writeList(directories);
    for (const directory of directories) {
      this.#rememberOrigins(directory);
      try {
        makeGroup(this.#sys, version, directory, inside ? undefined : pids);
      } catch (error) {
        this.#disown(directory);
        throw error;
      }
      this.#directories.push(directory);
      if (inside) continue;
      const entered = version === 2 ? `${directory.path}/${MAIN}` : directory.path;
      if (!exists(this.#sys, entered)) mkdir(this.#sys, entered);
      for (const pid of pids) enterGroup(this.#sys, entered, pid);
    }
  }

  #at(controller: Controller): GroupDirectory | undefined {
    return this.#directories.find(({ controllers }) => controllers.includes(controller));
  }

  /** Before anything is made: leaves first, then the group; of the parents those that are ours or not there yet. */
  #writeList(directories: readonly GroupDirectory[]): void {
    const { groups, parents } = this.#removable;
    for (const directory of directories) {
      const { path } = directory;
      const own = this.#hierarchies.version === 2 ? [`${path}/${EGRESS}`, `${path}/${MAIN}`, path] : [path];
      const above = parentsOf(directory).reverse();
      groups.push(...own.filter((item) => !groups.includes(item)));
      parents.push(...above.filter((item) => this.#place.ownParents || !exists(this.#sys, item)));
    }
    this.#saveList();
  }

  /** One that belongs to others is not ours to remove. */
  #disown({ path }: GroupDirectory): void {
    const { groups } = this.#removable;
    const kept = groups.filter((item) => item !== path && !item.startsWith(`${path}/`));
    groups.splice(0, groups.length, ...kept);
    this.#saveList();
  }

  #saveList(): void {
    const { runRoot, keeperPid: pid } = this.#owner;
    const keeper = { pid, startTicks: startTicks(this.#sys, pid) ?? 0 };
    this.#list = writeGroupList(this.#sys, runRoot, keeper, this.#removable);
  }

  #write({ controller, file, value }: GroupWrite): boolean {
    const directory = this.#at(controller);
    if (directory === undefined) return false;
    try {
      writeFile(this.#sys, `${directory.path}/${file}`, this.#resolve(directory, file, value));
      return true;
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      if (error.errno === E.ENOENT) return false;
      const subject = `limit cgroup ${directory.path}: write ${JSON.stringify(value)} to ${file}`;
      throw new TskataError(TskataError.from(error).code, `${subject}: ${error.code}`, error);
    }
  }

  /** The parent's value where all of it is wanted: v1 wants it spelled out, for v2 it is an empty one. */
  #resolve({ path }: GroupDirectory, file: string, value: string): string {
    if (value !== INHERIT) return value;
    if (this.#hierarchies.version === 2) return '\n';
    return readFile(this.#sys, `${path.slice(0, path.lastIndexOf('/'))}/${file}`).trim();
  }

  #rememberOrigins({ mount, controllers }: GroupDirectory): void {
    for (const pid of [this.#owner.shimPid, this.#owner.keeperPid]) {
      const origins = this.#origins.get(pid) ?? new Map<string, string>();
      this.#origins.set(pid, origins);
      if (origins.has(mount)) continue;
      const line = readFile(this.#sys, `/proc/${pid}/cgroup`)
        .split('\n')
        .find((text) => this.#isOf(text.split(':')[1] ?? '', controllers));
      const path = line?.split(':').slice(2).join(':') ?? '/';
      origins.set(mount, path.startsWith('/..') ? '/' : path);
    }
  }

  /** Whether a line of /proc/PID/cgroup with these names is of the hierarchy with these controllers. */
  #isOf(names: string, controllers: readonly Controller[]): boolean {
    if (this.#hierarchies.version === 2) return names === '';
    return names.split(',').some((name) => (controllers as readonly string[]).includes(name));
  }

  #moveOut(pid: number, mount: string, path: string): void {
    for (const target of [path, '/']) {
      try {
        enterGroup(this.#sys, `${mount}${target === '/' ? '' : target}`, pid);
        return;
      } catch {
        // Its old group may be gone, or hand controllers down by now; at the root there is always a place. A process
        // that has ended is out.
      }
    }
  }
}
