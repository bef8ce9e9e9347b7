/** Owns the arithmetic of id mappings between a container's user namespace and the guest. */
import type { IdMapping } from './spec.ts';

/** The guest's id for a container's; the id itself without mappings, undefined when it is not mapped. */
export function guestId(mappings: readonly IdMapping[], id: number): number | undefined {
  if (mappings.length === 0) return id;
  for (const { containerId, hostId, size } of mappings) {
    if (id >= containerId && id < containerId + size) return hostId + (id - containerId);
  }
  return undefined;
}
