/**
 * Owns the choice of how a container's root reaches the guest: an ordered list of strategies, the first that claims
 * the mounts plans them. Only a mount's type decides: an empty or bind source never becomes a disk.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { blockImages } from './block-images.ts';
import { hostDirectory } from './host-directory.ts';
import type { RootfsPlan } from './plan.ts';

/** A mount that the caller asks for at the container's root, in order. */
export interface RootfsMount {
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** What strategies decide on. */
export interface RootfsRequest {
  readonly mounts: readonly RootfsMount[];
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

const STRATEGIES: readonly RootfsStrategy[] = [blockImages, hostDirectory];

/** Plans the root by the first strategy that claims it. Throws InvalidArgument naming the mount types. */
export function planRootfs(request: RootfsRequest): RootfsPlan {
  const strategy = STRATEGIES.find((candidate) => candidate.claims(request));
  if (strategy !== undefined) return strategy.plan(request);
  const types = request.mounts.map((mount) => `'${mount.type}'`).join(', ');
  throw new TskataError(
    Code.InvalidArgument,
    `prepare rootfs - mounts of type ${types} - no way to bring them into the guest - use squashfs, erofs or ext4 images, or one bind mount`,
  );
}
