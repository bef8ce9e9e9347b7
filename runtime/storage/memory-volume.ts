/**
 * Owns the question which host tmpfs is memory of the pod rather than data of the host: the pod's /dev/shm and kubelet's
 * emptyDir of medium Memory. They become a tmpfs of the guest, of the same size, one for all containers of the pod.
 * Pure: it decides on what was found. Secrets and config maps are tmpfs too, but carry data of the host: they are shared.
 */
import { createHash } from 'node:crypto';
import type { HostSource, HostSources } from './host-source.ts';
import type { PlannedStorage } from './plan.ts';

/** kubelet's directory of an emptyDir, below whatever root directory it has. */
const EMPTY_DIR = /\/pods\/[^/]+\/volumes\/kubernetes\.io~empty-dir\/[^/]+$/;
/** kubelet's bind mount of a subPath: POD/volume-subpaths/VOLUME/CONTAINER/INDEX. */
const SUBPATH = /^(.*\/pods\/[^/]+)\/volume-subpaths\/([^/]+)\/[^/]+\/[^/]+$/;
const SHM = '/dev/shm';

/** A place in a tmpfs of the pod. */
export interface MemoryVolume {
  readonly storage: PlannedStorage & { readonly kind: 'tmpfs' };
  /** Path in it; empty: the whole. */
  readonly subpath: string;
}

/** Whether a path is an emptyDir's: the pod's own, which the guest may write whatever one container's mount says. */
export function isEmptyDir(path: string): boolean {
  return EMPTY_DIR.test(path);
}

/** The volume of which a subPath is a part, if it is an emptyDir. */
export function emptyDirOf(source: string): string | undefined {
  const [, pod, volume] = SUBPATH.exec(source) ?? [];
  return pod === undefined ? undefined : `${pod}/volumes/kubernetes.io~empty-dir/${volume}`;
}

/** The guest's tmpfs for a bind of `source`, or nothing when it is to be shared. */
export function memoryVolume(source: string, destination: string, sources: HostSources): MemoryVolume | undefined {
  const found = sources.get(source);
  if (found?.kind !== 'directory' || found.mount.type !== 'tmpfs') return undefined;
  const whole = isWholeTmpfs(found);
  if (whole && (destination === SHM || isEmptyDir(source))) return { storage: tmpfs(found, []), subpath: '' };
  const volume = sources.get(emptyDirOf(source) ?? '');
  if (volume === undefined || !isWholeTmpfs(volume) || volume.device !== found.device) return undefined;
  const below = `${found.mount.root}/${found.path.slice(found.mount.point.length)}`;
  const subpath = below
    .split('/')
    .filter((name) => name !== '')
    .join('/');
  if (subpath === '') return { storage: tmpfs(volume, []), subpath };
  const { mode, uid, gid } = found;
  return { storage: tmpfs(volume, [{ path: subpath, mode, uid, gid }]), subpath };
}

function isWholeTmpfs({ mount, path }: HostSource): boolean {
  return mount.type === 'tmpfs' && mount.root === '/' && mount.point === path;
}

function tmpfs(
  { path, device, sizeBytes, mode, uid, gid }: HostSource,
  directories: (PlannedStorage & { readonly kind: 'tmpfs' })['directories'],
): PlannedStorage & { readonly kind: 'tmpfs' } {
  // The same in every container of the pod, and no path of the host.
  const name = createHash('sha256').update(`${device}:${path}`).digest('hex').slice(0, 16);
  return { kind: 'tmpfs', id: `memory-${name}`, sizeBytes, mode, uid, gid, directories };
}
