/**
 * Owns the root that is a directory of the host: one bind mount, or the bundle's own root when nothing is mounted.
 */
import { isAbsolute } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { SourcePath } from './host-source.ts';
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

/** The host path to look at before such a root can be planned; none for other roots. */
export function rootSources(mounts: readonly RootfsMount[], bundleRoot: string): SourcePath[] {
  const [mount] = mounts;
  if (mount === undefined) return [{ path: bundleRoot, where: 'root.path', optional: false }];
  if (mounts.length > 1 || !isBind(mount)) return [];
  if (!isAbsolute(mount.source)) throw refused(mount.source, 'the source is not an absolute path');
  return [{ path: mount.source, where: 'rootfs[0].source', optional: false }];
}

function plan(request: RootfsRequest): RootfsPlan {
  const [mount] = request.mounts;
  const source = mount?.source ?? request.bundleRoot;
  const found = request.sources.get(source);
  if (found === undefined) throw new Error(`assertion failed: nobody looked at ${source}`);
  if (found.kind !== 'directory') throw refused(source, `it is a ${found.kind}, not a directory`);
  const id = `${request.idPrefix}root`;
  // What a caller mounts is the container's own: read-only to the guest only when it was mounted so, because mount
  // points that the image lacks are made in it. The root of a bundle may be others' too.
  const readOnly = mount === undefined ? request.readOnly : mount.options.includes('ro');
  const share = { kind: 'bind', source, found, readOnly, recursive: true, followsHost: false } as const;
  return { storages: [{ kind: 'share', id, whole: true, share }], rootfsId: id };
}

function refused(source: string, why: string): TskataError {
  return new TskataError(Code.InvalidArgument, `prepare rootfs - bind '${source}' - ${why}`);
}
