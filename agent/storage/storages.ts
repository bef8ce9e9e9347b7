/**
 * Owns the storages of a sandbox: each is made by the handler of its kind, undone by its maker's scope, found by id.
 * Nothing here mounts: children do, because a disk or a share may never answer.
 */

import type { Uevents } from '../boot/uevents.ts';
import { type LaunchTools, runPlan, StepError } from '../container/launch.ts';
import { SHARES, STORAGE } from '../paths.ts';
import { Code, TskataError } from '../protocol/errors.ts';
import type { Storage, TmpfsStorage } from '../protocol/generated/agent.ts';
import type { Scope } from '../protocol/scope.ts';
import { checkCount, checkRelative, checkStorageId, checkTag, invalid, quoted } from '../service/check.ts';
import type { StorageLocation } from '../service/convert.ts';
import { E } from '../sys/errno.ts';
import { check, isErrno } from '../sys/errors.ts';
import { AT } from '../sys/linux.ts';
import type { SpawnPlan } from '../sys/plan.ts';
import type { Sys } from '../sys/sys.ts';
import { SYS } from '../sys/syscalls.ts';
import { type Disk, isPciPath, waitForDisk } from './disks.ts';
import type { IdMap } from './id-map.ts';
import {
  BLOCK_TYPES,
  mappedPath,
  planBlock,
  planForget,
  planMakeShared,
  planOverlay,
  planShare,
  planTmpfs,
  planUnmount,
  planVisit,
} from './plans.ts';
import { SharedTmpfs } from './shared-tmpfs.ts';

/** A mount of a disk that must replay a journal, or a share whose daemon is just starting. */
const MOUNT_TIMEOUT_MS = 30_000;
const UNMOUNT_TIMEOUT_MS = 10_000;
/** A disk that cannot be opened yet is tried again, for a second at most. */
const MOUNT_ROUNDS = 20;
const MOUNT_PAUSE_MS = 50;
/** The options of a mount are one page; paths of this many layers fit. */
const MAX_LOWERS = 32;
/** Names of a share in one message. */
const MAX_NAMES = 1024;

/** A storage that is there. */
export interface MadeStorage extends StorageLocation {
  readonly id: string;
  readonly disk?: Disk;
  /** Holds data that a power-off would lose. */
  readonly writable: boolean;
}

interface Share {
  users: number;
  readonly mounted: Promise<void>;
  /** Set once nobody uses it: settles when it is out of the way. */
  unmounted?: Promise<void>;
}

/** The storages of one sandbox. */
export class Storages {
  private readonly tools: LaunchTools;
  private readonly uevents: Uevents;
  private readonly made = new Map<string, MadeStorage>();
  private readonly taken = new Set<string>();
  private readonly shares = new Map<string, Share>();
  private readonly tmpfs = new Map<string, SharedTmpfs>();
  private readonly shared = new Set<string>();

  constructor(tools: LaunchTools, uevents: Uevents) {
    this.tools = tools;
    this.uevents = uevents;
  }

  /** Throws TskataError: not found. */
  get(field: string, id: string): MadeStorage {
    const storage = this.made.get(id);
    if (storage === undefined) throw new TskataError(Code.NotFound, `${field}: there is no storage ${quoted(id)}`);
    return storage;
  }

  /** Disks in use, which no container may open. */
  disks(): readonly Disk[] {
    const disks: Disk[] = [];
    for (const { disk } of this.made.values()) if (disk !== undefined) disks.push(disk);
    return disks;
  }

  /** Makes a storage; its undo goes to `scope`. Overlays show the owners of `idMap`. */
  async make(field: string, message: Storage, scope: Scope, idMap?: IdMap): Promise<MadeStorage> {
    const id = checkStorageId(`${field}.id`, message.id);
    if (message.tmpfs?.shared === true) return this.makeSharedTmpfs(`${field}.tmpfs`, id, message.tmpfs);
    if (this.taken.has(id)) throw new TskataError(Code.AlreadyExists, `${field}.id: there is a storage ${quoted(id)}`);
    this.taken.add(id);
    scope.add(() => {
      this.made.delete(id);
      this.taken.delete(id);
    });
    const storage = await this.makeKind(field, id, message, scope, idMap);
    this.made.set(id, storage);
    return storage;
  }

  /** Marks a storage so that "shared" and "slave" binds of it spread mounts between containers. */
  async makeShared(path: string): Promise<void> {
    if (this.shared.has(path)) return;
    await this.run(planMakeShared(path));
    this.shared.add(path);
  }

  /** Syncs every writable storage; for the end of the sandbox. */
  async syncAll(): Promise<void> {
    const paths = [...this.made.values()].filter((storage) => storage.writable).map((storage) => storage.path);
    if (paths.length > 0) await runPlan(this.tools, planUnmount(paths, true), UNMOUNT_TIMEOUT_MS);
  }

  /** Makes ready the directories of shares that a container will bind. */
  async visitShares(places: readonly { readonly path: string; readonly subpath: string }[]): Promise<void> {
    for (const tag of this.shares.keys()) {
      const share = `${SHARES}/${tag}`;
      const subpaths = places
        .filter(({ path, subpath }) => path === share && subpath !== '')
        .map((place) => place.subpath);
      if (subpaths.length > 0) await this.run(planVisit(share, subpaths));
    }
  }

  /** Drops what the guest remembers of names that the host has removed from a share. */
  async forgetShareNames(tag: string, names: readonly string[]): Promise<void> {
    const path = `${SHARES}/${checkTag('tag', tag)}`;
    checkCount('names', names, MAX_NAMES);
    for (const name of names) checkTag('names', name);
    const share = this.shares.get(tag);
    if (share !== undefined && share.users > 0 && names.length > 0) await this.run(planForget(path, names));
  }

  /** One of the sandbox's: it is not undone with the container that asked. */
  private async makeSharedTmpfs(field: string, id: string, message: TmpfsStorage): Promise<MadeStorage> {
    let tmpfs = this.tmpfs.get(id);
    if (tmpfs === undefined) {
      if (this.taken.has(id)) throw new TskataError(Code.AlreadyExists, `${field}: there is a storage ${quoted(id)}`);
      this.taken.add(id);
      tmpfs = new SharedTmpfs(this.tools, this.mountPoint(id));
      this.tmpfs.set(id, tmpfs);
    }
    await tmpfs.ensure(field, message);
    const storage = { id, path: tmpfs.path, subpath: '', readOnly: false, writable: false };
    this.made.set(id, storage);
    return storage;
  }

  private makeKind(
    field: string,
    id: string,
    message: Storage,
    scope: Scope,
    idMap: IdMap | undefined,
  ): Promise<MadeStorage> {
    const { block, share, overlay, tmpfs } = message;
    if (block !== undefined) return this.makeBlock(`${field}.block`, id, block, scope);
    if (share !== undefined) return this.makeShare(`${field}.share`, id, share, scope);
    if (overlay !== undefined) return this.makeOverlay(`${field}.overlay`, id, overlay, scope, idMap);
    if (tmpfs !== undefined) return this.makeTmpfs(id, tmpfs.sizeBytes, scope);
    throw invalid(field, 'names no source');
  }

  private async makeBlock(
    field: string,
    id: string,
    block: NonNullable<Storage['block']>,
    scope: Scope,
  ): Promise<MadeStorage> {
    if (!isPciPath(block.pciPath)) throw invalid(`${field}.pci_path`, `${quoted(block.pciPath)} is not a PCI path`);
    if (!BLOCK_TYPES.has(block.fsType)) throw invalid(`${field}.fs_type`, `${quoted(block.fsType)} is not known`);
    const readOnly = block.readOnly || block.fsType !== 'ext4';
    const disk = await waitForDisk(this.tools.sys, this.uevents, block.pciPath);
    const path = this.mountPoint(id);
    this.undoMount([path], scope);
    await this.mountDisk(planBlock(disk.node, block.fsType, readOnly, path));
    return { id, path, subpath: '', readOnly, disk, writable: !readOnly };
  }

  private async makeShare(
    field: string,
    id: string,
    share: NonNullable<Storage['share']>,
    scope: Scope,
  ): Promise<MadeStorage> {
    const tag = checkTag(`${field}.tag`, share.tag);
    const subpath = checkRelative(`${field}.subpath`, share.subpath);
    const path = `${SHARES}/${tag}`;
    let entry = this.shares.get(tag);
    // Mounted now, it would be what the unmount takes away.
    while (entry?.unmounted !== undefined) {
      await entry.unmounted.catch(() => {});
      entry = this.shares.get(tag);
    }
    if (entry === undefined) {
      makeDirectory(this.tools.sys, path);
      entry = { users: 0, mounted: this.run(planShare(tag, path)) };
      this.shares.set(tag, entry);
    }
    const used = entry;
    used.users += 1;
    scope.add(async () => {
      used.users -= 1;
      if (used.users > 0) return;
      const unmount = runPlan(this.tools, planUnmount([path], false), UNMOUNT_TIMEOUT_MS);
      used.unmounted = unmount.finally(() => this.shares.delete(tag));
      await used.unmounted;
    });
    await used.mounted;
    return { id, path, subpath, readOnly: share.readOnly, writable: false };
  }

  private async makeOverlay(
    field: string,
    id: string,
    overlay: NonNullable<Storage['overlay']>,
    scope: Scope,
    idMap: IdMap | undefined,
  ): Promise<MadeStorage> {
    if (overlay.lowerIds.length === 0) throw invalid(`${field}.lower_ids`, 'is empty');
    checkCount(`${field}.lower_ids`, overlay.lowerIds, MAX_LOWERS);
    const lowers = overlay.lowerIds.map((lower) => this.get(`${field}.lower_ids`, lower));
    const upper = overlay.upperId === '' ? undefined : this.get(`${field}.upper_id`, overlay.upperId);
    for (const storage of [...lowers, ...(upper === undefined ? [] : [upper])]) {
      if (storage.subpath !== '') throw invalid(field, 'a part of a share cannot be a layer');
    }
    const path = this.mountPoint(id);
    const mapped = idMap === undefined ? 0 : lowers.length + (upper === undefined ? 0 : 1);
    const mounts = [path, ...Array.from({ length: mapped }, (_, index) => mappedPath(path, index))];
    this.undoMount(mounts, scope);
    const plan = planOverlay({
      lowers: lowers.map((lower) => lower.path),
      ...(upper === undefined ? {} : { upper: upper.path }),
      target: path,
      ...(idMap === undefined ? {} : { idMap }),
    });
    await this.run(plan);
    return { id, path, subpath: '', readOnly: upper === undefined, writable: false };
  }

  private async makeTmpfs(id: string, sizeBytes: bigint, scope: Scope): Promise<MadeStorage> {
    const path = this.mountPoint(id);
    this.undoMount([path], scope);
    await this.run(planTmpfs(sizeBytes, path));
    return { id, path, subpath: '', readOnly: false, writable: false };
  }

  private mountPoint(id: string): string {
    const path = `${STORAGE}/${id}`;
    makeDirectory(this.tools.sys, path);
    return path;
  }

  private undoMount(paths: readonly string[], scope: Scope): void {
    scope.add(async () => {
      for (const path of paths) this.shared.delete(path);
      await runPlan(this.tools, planUnmount(paths, false), UNMOUNT_TIMEOUT_MS);
    });
  }

  /** The kernel shows a new disk a moment before it can be opened, and says so by no event of its own. */
  private async mountDisk(plan: SpawnPlan): Promise<void> {
    for (let round = 0; ; round++) {
      try {
        return await this.run(plan);
      } catch (error) {
        if (round >= MOUNT_ROUNDS || !(error instanceof StepError) || !isErrno(error, E.ENXIO)) throw error;
        await new Promise<void>((resolve) => void this.tools.loop.timer(MOUNT_PAUSE_MS, resolve));
      }
    }
  }

  private run(plan: SpawnPlan): Promise<void> {
    return runPlan(this.tools, plan, MOUNT_TIMEOUT_MS);
  }
}

function makeDirectory(sys: Sys, path: string): void {
  const result = sys.call(SYS.mkdirat, AT.FDCWD, path, 0o755);
  if (result !== -E.EEXIST) check(result, 'make mount point', path);
}
