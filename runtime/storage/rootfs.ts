/**
 * Owns the choice of how a container's root reaches the guest: an ordered list of strategies, the first that claims
 * the mounts plans them. Only a mount's type decides: an empty or bind source never becomes a disk.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { blockImages } from './block-images.ts';
import { hostDirectory } from './host-directory.ts';
import { hostOverlay } from './host-overlay.ts';
import type { RootfsPlan, RootfsRequest, RootfsStrategy } from './plan.ts';

const STRATEGIES: readonly RootfsStrategy[] = [blockImages, hostOverlay, hostDirectory];

/** Plans the root by the first strategy that claims it. Throws InvalidArgument naming the mount types. */
export function planRootfs(request: RootfsRequest): RootfsPlan {
  const strategy = STRATEGIES.find((candidate) => candidate.claims(request));
  if (strategy !== undefined) return strategy.plan(request);
  const types = request.mounts.map((mount) => `'${mount.type}'`).join(', ');
  throw new TskataError(
    Code.InvalidArgument,
    `prepare rootfs - mounts of type ${types} - no way to bring them into the guest - use squashfs, erofs or ext4 disks, one overlay, or one bind mount`,
  );
}
