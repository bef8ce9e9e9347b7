/**
 * Owns the translation of a configuration's mounts: binds become shares of the host or memory of the pod, kernel file
 * systems stay in the guest, anything else is refused by name. Pure: it decides on what was found of the host. No host
 * path is in what it returns for the guest but in `share`.
 */
import { isAbsolute, normalize } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { SpecMount } from '../oci/spec.ts';
import type { HostSource, HostSources, SourcePath } from './host-source.ts';
import { type ContainerMappings, ID_MAP_OPTIONS, idMapOf, type MountIdMap } from './id-map.ts';
import { emptyDirOf, isEmptyDir, memoryVolume } from './memory-volume.ts';
import { checkMountOptions } from './mount-options.ts';
import type { PlannedMount } from './plan.ts';

/** File systems that the guest's kernel makes by itself. */
const GUEST_TYPES = new Set(['tmpfs', 'proc', 'sysfs', 'mqueue', 'devpts', 'cgroup', 'cgroup2', 'devtmpfs', 'ramfs']);
/** Those of GUEST_TYPES that a container may not have: the first shows every device of the guest. */
const REFUSED_GUEST_TYPES = new Set(['devtmpfs', 'ramfs']);
/** File systems that show the host's kernel: through a share they would be empty, false or a way out. */
const HOST_KERNEL_TYPES: ReadonlySet<string> = new Set([
  ...['proc', 'sysfs', 'cgroup', 'cgroup2', 'devpts', 'devtmpfs', 'mqueue', 'hugetlbfs', 'bpf', 'nsfs', 'selinuxfs'],
  ...['debugfs', 'tracefs', 'securityfs', 'configfs', 'pstore', 'efivarfs', 'binfmt_misc', 'fusectl'],
]);
/** What the host's own mount forbids stays forbidden. */
const KEPT_OPTIONS = ['nosuid', 'nodev', 'noexec'];

/** The host paths to look at before the mounts can be planned. Throws InvalidArgument with the JSON path. */
export function mountSources(mounts: readonly SpecMount[]): SourcePath[] {
  return mounts.flatMap((mount, index) => {
    if (!isBind(mount)) return [];
    const { source: path = '' } = mount;
    const where = `mounts[${index}].source`;
    if (!isAbsolute(path)) throw new TskataError(Code.InvalidArgument, `${where}: '${path}' is not an absolute path`);
    const volume = emptyDirOf(path);
    const whole = volume === undefined ? [] : [{ path: volume, where, optional: true }];
    return [{ path, where, optional: false }, ...whole];
  });
}

/** Plans `mounts` of a configuration, in their order; `container` has the mappings of its user namespace. Throws InvalidArgument with the JSON path. */
export function planMounts(
  mounts: readonly SpecMount[],
  idPrefix: string,
  sources: HostSources,
  container: ContainerMappings = {},
): PlannedMount[] {
  return mounts.map((mount, index) => {
    const where = `mounts[${index}]`;
    const idMap = idMapOf(mount, where, container);
    return planMount(mount, { where, storageId: `${idPrefix}vol${index}`, sources, idMap });
  });
}

/** What is known of a mount when it is planned. */
interface Planning {
  /** Its JSON path. */
  readonly where: string;
  readonly storageId: string;
  readonly sources: HostSources;
  readonly idMap: MountIdMap | undefined;
}

function planMount(mount: SpecMount, planning: Planning): PlannedMount {
  const { where, idMap } = planning;
  const options = (mount.options ?? []).filter((option) => !ID_MAP_OPTIONS.includes(option));
  const type = isBind(mount) ? 'bind' : (mount.type ?? '');
  if (type !== 'bind' && (!GUEST_TYPES.has(type) || REFUSED_GUEST_TYPES.has(type))) {
    throw new TskataError(Code.InvalidArgument, `${where}.type: file system '${type}' is not available in the guest`);
  }
  if (idMap !== undefined && type !== 'bind') refuseMapped(where, `a new ${type} has the owners that it is given`);
  const planned: PlannedMount = {
    destination: normalize(mount.destination),
    type,
    // A host path has no meaning in the guest: the type's own name stands in for it.
    source: type === 'bind' ? '' : type,
    options: checkMountOptions(type, options, `${where}.options`),
  };
  return type === 'bind' ? planBind(mount, planned, planning) : planned;
}

function isBind(mount: SpecMount): boolean {
  return mount.type === 'bind' || (mount.options ?? []).some((option) => option === 'bind' || option === 'rbind');
}

function refuseMapped(where: string, why: string): never {
  throw new TskataError(Code.InvalidArgument, `${where}: its ids cannot be mapped: ${why}`);
}

function planBind(mount: SpecMount, planned: PlannedMount, planning: Planning): PlannedMount {
  const { where, storageId: id, sources, idMap } = planning;
  const { source = '', options = [] } = mount;
  const has = (...names: readonly string[]): boolean => names.some((name) => options.includes(name));
  if (has('shared', 'rshared')) {
    throw new TskataError(
      Code.InvalidArgument,
      `${where}.options: bidirectional propagation: what a container mounts in the virtual machine cannot spread to the host - use rslave (HostToContainer) or rprivate (None)`,
    );
  }
  const found = sources.get(source);
  if (found === undefined) throw new Error(`assertion failed: nobody looked at ${source}`);
  refuseUnshareable(found, source, where);
  const kept = KEPT_OPTIONS.filter((option) => found.mount.options.includes(option));
  const bind = { ...planned, options: [...kept, ...planned.options] };
  const memory = memoryVolume(source, planned.destination, sources);
  if (memory !== undefined) {
    if (idMap !== undefined) refuseMapped(where, "a volume in memory is the guest's own");
    return { ...bind, storage: memory.storage, storagePath: memory.subpath };
  }
  const share = {
    kind: 'bind',
    source,
    found,
    // An emptyDir is the pod's own: were one container's bind of it another one than its neighbour's, the guest would
    // have two files for one, and sockets, locks and mapped memory would not meet.
    readOnly: has('ro', 'rro') && !isEmptyDir(source),
    recursive: !has('bind') || has('rbind'),
    followsHost: has('rslave', 'slave'),
    ...(idMap === undefined ? {} : { idMap }),
  } as const;
  return { ...bind, storage: { kind: 'share', id, whole: false, share } };
}

function refuseUnshareable({ kind, mount }: HostSource, source: string, where: string): void {
  const refuse = (fact: string): never => {
    throw new TskataError(Code.InvalidArgument, `${where}.source: share ${source} with the guest - ${fact}`);
  };
  if (kind === 'socket') {
    refuse('it is a socket - a unix socket of the host cannot be reached from inside a virtual machine');
  }
  if (kind !== 'directory' && kind !== 'file') refuse(`it is a ${kind} - only files and directories can be shared`);
  if (HOST_KERNEL_TYPES.has(mount.type)) {
    refuse(`it shows the host's kernel (${mount.type}) - the guest has a kernel of its own`);
  }
}
