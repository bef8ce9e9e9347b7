/**
 * Owns the translation of a configuration's mounts: binds become shares of the host, kernel file systems stay in the
 * guest, anything else is refused by name. No host path is in what it returns for the guest but in `share`.
 */
import { isAbsolute, normalize } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { SpecMount } from '../oci/spec.ts';
import { checkMountOptions } from './mount-options.ts';
import type { PlannedMount, PlannedStorage } from './plan.ts';

/** File systems that the guest's kernel makes by itself. */
const GUEST_TYPES = new Set(['tmpfs', 'proc', 'sysfs', 'mqueue', 'devpts', 'cgroup', 'cgroup2', 'devtmpfs', 'ramfs']);
/** Those of GUEST_TYPES that a container may not have: the first shows every device of the guest. */
const REFUSED_GUEST_TYPES = new Set(['devtmpfs', 'ramfs']);

/** Plans `mounts` of a configuration, in their order. Throws InvalidArgument with the JSON path. */
export function planMounts(mounts: readonly SpecMount[], idPrefix: string): PlannedMount[] {
  return mounts.map((mount, index) => planMount(mount, `mounts[${index}]`, `${idPrefix}vol${index}`));
}

function planMount(mount: SpecMount, where: string, storageId: string): PlannedMount {
  const options = mount.options ?? [];
  const type = isBind(mount) ? 'bind' : (mount.type ?? '');
  if (type !== 'bind' && (!GUEST_TYPES.has(type) || REFUSED_GUEST_TYPES.has(type))) {
    throw new TskataError(Code.InvalidArgument, `${where}.type: file system '${type}' is not available in the guest`);
  }
  if ((mount.uidMappings ?? []).length > 0 || (mount.gidMappings ?? []).length > 0) {
    throw new TskataError(Code.Unimplemented, `${where}.uidMappings: id-mapped mounts are not available`);
  }
  const planned: PlannedMount = {
    destination: normalize(mount.destination),
    type,
    // A host path has no meaning in the guest: the type's own name stands in for it.
    source: type === 'bind' ? '' : type,
    options: checkMountOptions(type, options, `${where}.options`),
  };
  return type === 'bind' ? { ...planned, storage: bindStorage(mount, where, storageId) } : planned;
}

function isBind(mount: SpecMount): boolean {
  return mount.type === 'bind' || (mount.options ?? []).some((option) => option === 'bind' || option === 'rbind');
}

function bindStorage(mount: SpecMount, where: string, id: string): PlannedStorage & { kind: 'share' } {
  const { source = '', options = [] } = mount;
  if (!isAbsolute(source)) {
    throw new TskataError(Code.InvalidArgument, `${where}.source: '${source}' is not an absolute path`);
  }
  const has = (...names: readonly string[]): boolean => names.some((name) => options.includes(name));
  return {
    kind: 'share',
    id,
    whole: false,
    share: {
      source,
      readOnly: has('ro', 'rro'),
      recursive: !has('bind') || has('rbind'),
      followsHost: has('rslave', 'slave', 'rshared', 'shared'),
    },
  };
}
