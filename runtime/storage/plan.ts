/**
 * Owns the types of a storage plan: what a container needs to see, as data, before anything is opened or mounted.
 * Refuses to know how a disk or a share reaches the guest and what the guest does with it.
 */

import type { HostSource, HostSources } from './host-source.ts';
import type { MountIdMap } from './id-map.ts';

/** A mount that the caller asks for at the container's root, in order. */
export interface RootfsMount {
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** What strategies decide on. */
export interface RootfsRequest {
  readonly mounts: readonly RootfsMount[];
  /** What was found at the sources of bind mounts, or at `bundleRoot`. */
  readonly sources: HostSources;
  /** Host path of the root of the bundle, for a caller that mounts nothing. */
  readonly bundleRoot: string;
  readonly readOnly: boolean;
  /** Prefix that makes storage ids unique in the sandbox. */
  readonly idPrefix: string;
}

/** One way to bring a root into the guest. */
export interface RootfsStrategy {
  readonly name: string;
  claims(request: RootfsRequest): boolean;
  /** Pure. Throws InvalidArgument naming the mount. */
  plan(request: RootfsRequest): RootfsPlan;
}

/** A raw image file or a block device that must become a disk of the machine. */
export interface DiskRequest {
  readonly path: string;
  readonly readOnly: boolean;
  /** Nobody reads it after the machine has ended. */
  readonly ephemeral: boolean;
}

/** What must become visible under the sandbox's share. */
export type ShareRequest = BindRequest | OverlayRequest;

/** A host file or directory. */
interface BindRequest {
  readonly kind: 'bind';
  /** Absolute host path; symbolic links in it are followed once, when it is bound. */
  readonly source: string;
  /** What is there, and must still be there then. */
  readonly found: HostSource;
  /** With all that is mounted below: to the guest it is one mount. */
  readonly readOnly: boolean;
  /** Mounts below `source` come along. */
  readonly recursive: boolean;
  /** Later mounts of the host below `source` show up too. */
  readonly followsHost: boolean;
  /** Absent: files have the owners that they have. */
  readonly idMap?: MountIdMap;
}

/** An overlay that the host makes. */
interface OverlayRequest {
  readonly kind: 'overlay';
  /** Checked options of the kernel's overlay file system. */
  readonly options: readonly string[];
  readonly readOnly: boolean;
}

/** A storage of the guest in terms of what it needs from the host. Ids are unique in the sandbox. */
export type PlannedStorage =
  | { readonly kind: 'block'; readonly id: string; readonly disk: DiskRequest; readonly fsType: string }
  | { readonly kind: 'share'; readonly id: string; readonly share: ShareRequest; readonly whole: boolean }
  | {
      readonly kind: 'tmpfs';
      /** The same in every container of the sandbox: the first makes it, it lives as long as the sandbox. */
      readonly id: string;
      readonly sizeBytes: bigint;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
      /** Directories that must be in it. */
      readonly directories: readonly TmpfsDirectory[];
    }
  | { readonly kind: 'overlay'; readonly id: string; readonly lowerIds: readonly string[]; readonly upperId: string };

/** A container's root: storages in the order in which they must be made, the last being the root. */
export interface RootfsPlan {
  readonly storages: readonly PlannedStorage[];
  readonly rootfsId: string;
}

/** A directory of a tmpfs of the pod. */
interface TmpfsDirectory {
  /** Relative, without "..". */
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A mount of the container's configuration. */
export interface PlannedMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
  /** Set for binds. */
  readonly storage?: PlannedStorage & { readonly kind: 'share' | 'tmpfs' };
  /** Path in a tmpfs storage. */
  readonly storagePath?: string;
}
