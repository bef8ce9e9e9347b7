/**
 * Owns a user namespace that exists only as a descriptor: the form in which the kernel takes the id mapping of a mount.
 */

import { guestId } from '../container/ids.ts';
import { type LaunchTools, runPlan } from '../container/launch.ts';
import type { ContainerSpec } from '../container/spec.ts';
import { open, writeFile } from '../sys/calls.ts';
import { idMapText } from '../sys/id-maps.ts';
import { CLONE, O } from '../sys/linux.ts';
import type { SpawnPlan } from '../sys/plan.ts';

const MAP_SYNC = 'map';
const TIMEOUT_MS = 5_000;

/** Owners of a container's files. */
export interface IdMap {
  /** Of the user namespace. */
  readonly fd: number;
  /** Ids of the container's root in the guest. */
  readonly uid: number;
  readonly gid: number;
}

/** The plan of a child that stands in a new user namespace until its maps are written. */
export function planUserNamespace(): SpawnPlan {
  return {
    cloneFlags: CLONE.NEWUSER,
    slots: {},
    steps: [
      { op: 'sync', name: MAP_SYNC, label: 'make a user namespace' },
      { op: 'exit', status: 0, label: 'end' },
    ],
  };
}

/** Makes the namespace. The caller closes the descriptor when its mounts are made. */
export async function openIdMap(
  tools: LaunchTools,
  { uidMappings, gidMappings }: Pick<ContainerSpec, 'uidMappings' | 'gidMappings'>,
): Promise<IdMap> {
  let fd = -1;
  const map = (child: { readonly pid: number }): void => {
    writeFile(tools.sys, `/proc/${child.pid}/uid_map`, idMapText(uidMappings));
    writeFile(tools.sys, `/proc/${child.pid}/gid_map`, idMapText(gidMappings));
    fd = open(tools.sys, `/proc/${child.pid}/ns/user`, O.RDONLY);
  };
  await runPlan(tools, planUserNamespace(), TIMEOUT_MS, new Map([[MAP_SYNC, map]]));
  return { fd, uid: guestId(uidMappings, 0) ?? 0, gid: guestId(gidMappings, 0) ?? 0 };
}
