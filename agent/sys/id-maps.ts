/** The kernel's id maps, as the text that /proc/PID/uid_map and gid_map take (user_namespaces(7)). */

/** Ids from `containerId` on are the ids from `hostId` on outside. */
export interface IdRange {
  readonly containerId: number;
  readonly hostId: number;
  readonly size: number;
}

/** Text of /proc/PID/uid_map. */
export function idMapText(ranges: readonly IdRange[]): string {
  return ranges.map(({ containerId, hostId, size }) => `${containerId} ${hostId} ${size}\n`).join('');
}
