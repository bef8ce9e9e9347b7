/**
 * Owns which owners the files of a bind mount seem to have (OCI config.md, "uidMappings", "gidMappings" and the options
 * `idmap` and `ridmap` of a mount). Pure. The host maps: a guest's file system over virtio-fs cannot.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Spec, SpecMount } from '../oci/spec.ts';

/** Ids of the source from `containerId` on are seen as those from `hostId` on. */
interface IdRange {
  readonly containerId: number;
  readonly hostId: number;
  readonly size: number;
}

/** The mapping of one mount. */
export interface MountIdMap {
  /** Of the mounts below as well. */
  readonly recursive: boolean;
  readonly uidMappings: readonly IdRange[];
  readonly gidMappings: readonly IdRange[];
}

/** Of whoever has no mapping of its own: the container's user namespace. */
export type ContainerMappings = Pick<NonNullable<Spec['linux']>, 'uidMappings' | 'gidMappings'>;

/** The options that ask for a mapping: they are not the kernel's. */
export const ID_MAP_OPTIONS: readonly string[] = ['idmap', 'ridmap'];

/** Lines that the kernel takes (UID_GID_MAP_MAX_EXTENTS). */
const MAX_RANGES = 340;
/** One beyond the largest id that a mapping may name. */
const END_OF_IDS = 2 ** 32 - 1;

/** The mapping that a mount asks for, if it does. Throws InvalidArgument with the JSON path. */
export function idMapOf(mount: SpecMount, where: string, container: ContainerMappings): MountIdMap | undefined {
  const { options = [], uidMappings = [], gidMappings = [] } = mount;
  const asked = ID_MAP_OPTIONS.filter((option) => options.includes(option));
  const own = uidMappings.length > 0 || gidMappings.length > 0;
  if (asked.length === 0 && !own) return undefined;
  if (asked.length > 1) throw refused(`${where}.options`, 'idmap and ridmap exclude each other');
  const from = own ? `${where}.` : 'linux.';
  const source = own ? { uidMappings, gidMappings } : container;
  const ranges = (field: 'uidMappings' | 'gidMappings'): IdRange[] => {
    const list = source[field] ?? [];
    if (list.length === 0) {
      const why = 'a mount with mapped ids needs mappings of users and groups, its own or those of a user namespace';
      throw refused(`${own ? from : `${where}.`}${field}`, why);
    }
    return checkRanges(list, `${from}${field}`);
  };
  return {
    recursive: asked.includes('ridmap'),
    uidMappings: ranges('uidMappings'),
    gidMappings: ranges('gidMappings'),
  };
}

function checkRanges(list: NonNullable<SpecMount['uidMappings']>, where: string): IdRange[] {
  if (list.length > MAX_RANGES) throw refused(where, `${list.length} ranges; the kernel takes ${MAX_RANGES}`);
  for (const [index, { containerID, hostID, size }] of list.entries()) {
    const here = `${where}[${index}]`;
    if (size === 0 || Math.max(containerID, hostID) + size > END_OF_IDS) {
      throw refused(here, 'is not a range of ids');
    }
    for (const other of list.slice(0, index)) {
      const meets = (one: number, another: number): boolean => one < another + other.size && another < one + size;
      if (meets(containerID, other.containerID) || meets(hostID, other.hostID)) {
        throw refused(here, 'overlaps with one before it');
      }
    }
  }
  return list.map(({ containerID, hostID, size }) => ({ containerId: containerID, hostId: hostID, size }));
}

function refused(where: string, why: string): TskataError {
  return new TskataError(Code.InvalidArgument, `${where}: ${why}`);
}
