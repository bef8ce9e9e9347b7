/**
 * Owns the root that is a directory of the host: one bind mount, or the bundle's own root when nothing is mounted.
 */
import { isAbsolute } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { RootfsMount, RootfsPlan, RootfsRequest, RootfsStrategy } from './plan.ts';

export const hostDirectory: RootfsStrategy = {
  name: 'host directory',
  claims: ({ mounts }) => mounts.length === 0 || (mounts.length === 1 && mounts.every(isBind)),
  plan,
};

/** A bind by its type or, as mount(8) has it, by its options. */
function isBind(mount: RootfsMount): boolean {
  return mount.type === 'bind' || mount.options.includes('bind') || mount.options.includes('rbind');
}

function plan(request: RootfsRequest): RootfsPlan {
  const [mount] = request.mounts;
  const source = mount?.source ?? request.bundleRoot;
  if (!isAbsolute(source)) {
    throw new TskataError(
      Code.InvalidArgument,
      `prepare rootfs - bind '${source}' - the source is not an absolute path`,
    );
  }
  const id = `${request.idPrefix}root`;
  const readOnly = request.readOnly || (mount?.options.includes('ro') ?? false);
  return {
    storages: [{ kind: 'share', id, whole: true, share: { source, readOnly, recursive: true, followsHost: false } }],
    rootfsId: id,
  };
}
