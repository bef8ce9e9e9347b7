/**
 * Owns the root that is an overlay on the host: a snapshot of containerd's overlayfs snapshotter. The keeper mounts it
 * below the sandbox's share, in its own mount namespace. Refuses every option that is not known to be safe: a guest that
 * is hostile writes to the upper layer.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { RootfsMount, RootfsPlan, RootfsRequest, RootfsStrategy } from './plan.ts';

/** OVL_MAX_STACK of the kernel. */
const MAX_LAYERS = 500;
/** Layers are separated by a colon; a backslash in front makes it part of a path. */
const SEPARATOR = /(?<!\\):/;
/** Options of the mount that change nothing here. */
const PLAIN = new Set(['', 'rw', 'defaults', 'noatime', 'relatime', 'nodev']);
const SWITCH = /^(on|off)$/;

const VALUES: ReadonlyMap<string, RegExp> = new Map([
  ['index', SWITCH],
  ['metacopy', SWITCH],
  ['nfs_export', SWITCH],
  ['redirect_dir', /^(on|off|follow|nofollow)$/],
  ['xino', /^(on|off|auto)$/],
  ['uuid', /^(on|off|auto|null)$/],
]);
const FLAGS = new Set(['userxattr', 'volatile']);

export const hostOverlay: RootfsStrategy = {
  name: 'host overlay',
  claims: ({ mounts }) => mounts.length === 1 && mounts.every((mount) => mount.type === 'overlay'),
  plan,
};

function plan(request: RootfsRequest): RootfsPlan {
  const [mount] = request.mounts;
  if (mount === undefined) throw new Error('assertion failed: an overlay was claimed');
  const paths = checkPaths(mount);
  const options = [...paths, ...mount.options.flatMap((option) => otherOption(mount, option))];
  const id = `${request.idPrefix}root`;
  return {
    storages: [
      { kind: 'share', id, whole: true, share: { kind: 'overlay', options, readOnly: options.includes('ro') } },
    ],
    rootfsId: id,
  };
}

/** lowerdir, and upperdir with workdir, or neither of the two. */
function checkPaths(mount: RootfsMount): string[] {
  const value = (name: string): string | undefined => {
    const found = mount.options.filter((option) => option.startsWith(`${name}=`));
    if (found.length > 1) throw refused(mount, `there are ${found.length} options ${name}`);
    return found[0]?.slice(name.length + 1);
  };
  const lowers = value('lowerdir')?.split(SEPARATOR) ?? [];
  const [upper, work] = [value('upperdir'), value('workdir')];
  if (lowers.length === 0 || lowers.length > MAX_LAYERS) {
    throw refused(mount, `there are ${lowers.length} lower layers, of 1 to ${MAX_LAYERS}`);
  }
  if ((upper === undefined) !== (work === undefined)) throw refused(mount, 'upperdir and workdir go together');
  const uppers = upper === undefined || work === undefined ? [] : [upper, work];
  for (const path of [...lowers, ...uppers]) {
    if (!path.startsWith('/') || path.includes(',')) throw refused(mount, `'${path}' is not an absolute path`);
  }
  return [`lowerdir=${lowers.join(':')}`, ...(upper === undefined ? [] : [`upperdir=${upper}`, `workdir=${work}`])];
}

function otherOption(mount: RootfsMount, option: string): string[] {
  if (/^(lower|upper|work)dir=/.test(option) || PLAIN.has(option)) return [];
  const equals = option.indexOf('=');
  const allowed = equals < 0 ? undefined : VALUES.get(option.slice(0, equals));
  if (option === 'ro' || FLAGS.has(option) || allowed?.test(option.slice(equals + 1))) return [option];
  throw refused(mount, `option '${option}' is not known`);
}

function refused(mount: RootfsMount, why: string): TskataError {
  return new TskataError(Code.InvalidArgument, `prepare rootfs - ${mount.type} ${mount.source} - ${why}`);
}
