/**
 * Owns the step from a storage plan to what a machine has: disks in slots, binds under the share, and the messages by
 * which the agent finds them. Everything taken is registered with the caller's scope at once.
 */
import type { Mount, Storage } from '../../agent/protocol/generated/agent.ts';
import type { Init } from '../../agent/protocol/message.ts';
import type { Scope } from '../../agent/protocol/scope.ts';
import type { DiskConfig, Vm } from '../vm/vm.ts';
import type { DiskSlots } from './disk-slots.ts';
import type { DiskRequest, PlannedMount, PlannedStorage, ShareRequest } from './plan.ts';
import { SHARE_TAG, type ShareEntry, type ShareTree } from './share-tree.ts';

/** What one container's storages took of the sandbox. */
export interface AcquiredStorage {
  readonly disks: ReadonlyMap<DiskRequest, DiskConfig>;
  readonly entries: ReadonlyMap<ShareRequest, ShareEntry>;
}

/** From what it is taken. */
export interface StorageParts {
  readonly slots: DiskSlots;
  readonly share: ShareTree;
  /** Called with the names that have vanished from the share: the guest may remember what was below them. */
  readonly onShareRemoved: (names: readonly string[]) => Promise<void>;
  readonly scope: Scope;
}

/** Takes slots and binds host paths, in order. Errors name the path. */
export async function acquireStorage(
  planned: readonly PlannedStorage[],
  parts: StorageParts,
): Promise<AcquiredStorage> {
  const disks = new Map<DiskRequest, DiskConfig>();
  const entries = new Map<ShareRequest, ShareEntry>();
  const removed: string[] = [];
  // Undone last, after all that it speaks of.
  parts.scope.add(() => parts.onShareRemoved(removed));
  for (const storage of planned) {
    if (storage.kind === 'block') {
      const disk = parts.slots.take(storage.disk);
      parts.scope.add(() => parts.slots.release(disk.slot));
      disks.set(storage.disk, disk);
    } else if (storage.kind === 'share') {
      const entry = await parts.share.add(storage.share);
      parts.scope.add(async () => {
        const name = await parts.share.remove(entry);
        if (name !== undefined) removed.push(name);
      });
      entries.set(storage.share, entry);
    }
  }
  return { disks, entries };
}

/** Says it to the agent. */
export function storageMessages(
  planned: readonly PlannedStorage[],
  acquired: AcquiredStorage,
  vm: Vm,
): Init<Storage>[] {
  return planned.map((storage) => storageMessage(storage, acquired, vm));
}

function storageMessage(storage: PlannedStorage, acquired: AcquiredStorage, vm: Vm): Init<Storage> {
  switch (storage.kind) {
    case 'block': {
      const { slot, readOnly } = find(acquired.disks, storage.disk);
      return { id: storage.id, block: { pciPath: vm.diskPath(slot), fsType: storage.fsType, readOnly } };
    }
    case 'share': {
      const entry = find(acquired.entries, storage.share);
      const subpath = storage.whole ? `${entry.directory}/${entry.leaf}` : entry.directory;
      return { id: storage.id, share: { tag: SHARE_TAG, subpath, readOnly: storage.share.readOnly } };
    }
    case 'tmpfs': {
      const { id, sizeBytes, mode, uid, gid, directories } = storage;
      return { id, tmpfs: { sizeBytes, shared: true, mode, uid, gid, directories } };
    }
    case 'overlay':
      return { id: storage.id, overlay: { lowerIds: storage.lowerIds, upperId: storage.upperId } };
  }
}

/** The mounts of a container with their storages by id. */
export function mountMessages(planned: readonly PlannedMount[], acquired: AcquiredStorage): Init<Mount>[] {
  return planned.map(({ destination, type, source, options, storage, storagePath = '' }) => {
    const mount = { destination, type, source, options };
    if (storage === undefined) return mount;
    if (storage.kind === 'tmpfs') return { ...mount, storageId: storage.id, storagePath };
    const { leaf } = find(acquired.entries, storage.share);
    return { ...mount, storageId: storage.id, storagePath: leaf, isFile: leaf === 'f' };
  });
}

function find<K, V>(map: ReadonlyMap<K, V>, key: K): V {
  const value = map.get(key);
  if (value === undefined) throw new Error('assertion failed: a planned storage was not acquired');
  return value;
}
