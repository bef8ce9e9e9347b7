/**
 * Owns which namespaces a container gets of its own and which it shares with the sandbox. Knows the flags of clone
 * and nothing of what happens inside.
 */
import { CLONE } from '../../sys/linux.ts';
import type { NamespaceName } from '../spec.ts';

/** CLONE_NEWTIME: a signal number's bits for clone, but a flag of its own for clone3, unshare and setns. */
export const CLONE_NEWTIME = 0x80;

const FLAGS: ReadonlyMap<string, number> = new Map<NamespaceName, number>([
  ['mount', CLONE.NEWNS],
  ['pid', CLONE.NEWPID],
  ['network', CLONE.NEWNET],
  ['ipc', CLONE.NEWIPC],
  ['uts', CLONE.NEWUTS],
  ['user', CLONE.NEWUSER],
  ['cgroup', CLONE.NEWCGROUP],
  ['time', CLONE_NEWTIME],
]);

/** Whether a string of the host names a namespace. */
export function isNamespaceName(name: string): name is NamespaceName {
  return FLAGS.has(name);
}

/** What a container's init is born into. */
export interface NamespacePlan {
  /** Flags of the clone. */
  readonly cloneFlags: number;
  /**
   * The cgroup namespace is unshared by the child itself: at the clone its root would be the parent's cgroup, not the
   * one the child is born in (Linux 6.1, copy_cgroup_ns).
   */
  readonly unshareCgroup: boolean;
  /** Flags of setns for a process that joins this container, the cgroup namespace excepted. */
  readonly joinFlags: number;
}

/**
 * Decides. A mount and a pid namespace are always made: without them a container would see the agent. With
 * `joinsPid` the pid namespace is that of another container, entered before the clone.
 */
export function planNamespaces(names: readonly NamespaceName[], joinsPid: boolean): NamespacePlan {
  const wanted = new Set(names);
  wanted.add('mount');
  if (!joinsPid) wanted.add('pid');
  let cloneFlags = 0;
  for (const name of wanted) {
    if (name !== 'cgroup') cloneFlags |= FLAGS.get(name) ?? 0;
  }
  return {
    cloneFlags,
    unshareCgroup: wanted.has('cgroup'),
    // Joining a namespace in which one already is changes nothing, except for user (refused) and pid (shared by enter).
    joinFlags: cloneFlags | CLONE.NEWPID,
  };
}
