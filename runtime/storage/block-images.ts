/**
 * Owns the root made of block images: read-only layers, lowest first, and at most one writable scratch disk on top.
 * Refuses everything whose mount type is not a block file system; never looks at a source to guess what it is.
 */
import { isAbsolute } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { PlannedStorage, RootfsMount, RootfsPlan, RootfsRequest, RootfsStrategy } from './plan.ts';

const READ_ONLY_TYPES = new Set(['squashfs', 'erofs']);
const BLOCK_TYPES = new Set([...READ_ONLY_TYPES, 'ext4']);

/** Options that are carried out ("ro") or are so already: the guest never writes access times. */
const OPTIONS = new Set(['', 'ro', 'rw', 'defaults', 'loop', 'noatime', 'nodiratime', 'relatime']);

type BlockStorage = PlannedStorage & { readonly kind: 'block' };

export const blockImages: RootfsStrategy = {
  name: 'block images',
  claims: (request) => request.mounts.length > 0 && request.mounts.every((mount) => BLOCK_TYPES.has(mount.type)),
  plan,
};

function plan(request: RootfsRequest): RootfsPlan {
  const lowers: BlockStorage[] = [];
  let upper: BlockStorage | undefined;
  for (const [index, mount] of request.mounts.entries()) {
    const storage = block(request, index, mount);
    if (storage.disk.readOnly) {
      if (upper !== undefined) throw refused(mount, 'a read-only layer must come before the writable one');
      lowers.push(storage);
    } else {
      if (upper !== undefined) throw refused(mount, 'there is a second writable disk');
      upper = storage;
    }
  }
  // A writable disk on layers is the container's scratch space; one alone is somebody's disk, whose data is kept.
  const scratch = upper !== undefined && lowers.length > 0;
  const disks = upper === undefined ? lowers : [...lowers, scratch ? ephemeral(upper) : upper];
  const [single] = disks;
  if (single !== undefined && disks.length === 1) return { storages: disks, rootfsId: single.id };
  const overlay: PlannedStorage = {
    kind: 'overlay',
    id: `${request.idPrefix}root`,
    lowerIds: lowers.map((lower) => lower.id),
    upperId: upper?.id ?? '',
  };
  return { storages: [...disks, overlay], rootfsId: overlay.id };
}

function ephemeral(storage: BlockStorage): BlockStorage {
  return { ...storage, disk: { ...storage.disk, ephemeral: true } };
}

function block(request: RootfsRequest, index: number, mount: RootfsMount): BlockStorage {
  if (!isAbsolute(mount.source)) throw refused(mount, 'the source is not an absolute path');
  const unknown = mount.options.find((option) => !OPTIONS.has(option));
  if (unknown !== undefined) throw refused(mount, `option '${unknown}' is not known`);
  const readOnly = READ_ONLY_TYPES.has(mount.type) || mount.options.includes('ro');
  return {
    kind: 'block',
    id: `${request.idPrefix}disk${index}`,
    fsType: mount.type,
    disk: { path: mount.source, readOnly, ephemeral: false },
  };
}

function refused(mount: RootfsMount, why: string): TskataError {
  return new TskataError(Code.InvalidArgument, `prepare rootfs - ${mount.type} ${mount.source} - ${why}`);
}
