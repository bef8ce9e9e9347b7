/** The mounts section: what every container has, then what was asked for. */

import type { SpecMount } from '../spec.ts';
import type { Transform } from './transform.ts';

function defaults(shmSizeBytes: number, privileged: boolean): SpecMount[] {
  const access = privileged ? 'rw' : 'ro';
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    {
      destination: '/dev/shm',
      type: 'tmpfs',
      source: 'shm',
      options: ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${shmSizeBytes}`],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', access] },
    { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['nosuid', 'noexec', 'nodev', access] },
  ];
}

export const mountDefaults: Transform = (draft, request) => {
  draft.mounts.push(...defaults(request.shmSizeBytes, request.privileged));
};

/** Later mounts win over earlier ones at the same place; parents come before what lies below them. */
export const mountVolumes: Transform = (draft, request) => {
  const asked: SpecMount[] = [
    ...request.tmpfs.map((tmpfs) => ({
      destination: tmpfs.destination,
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'nodev', 'noexec', ...tmpfs.options],
    })),
    ...request.volumes.map((volume) => ({
      destination: volume.destination,
      type: 'bind',
      source: volume.source,
      options: ['rbind', volume.readOnly ? 'ro' : 'rw', volume.propagation || 'rprivate'],
    })),
  ];
  const replaced = new Set(asked.map((mount) => mount.destination));
  const kept = draft.mounts.filter((mount) => !replaced.has(mount.destination));
  const depth = (mount: SpecMount): number => mount.destination.split('/').filter(Boolean).length;
  draft.mounts = [...kept, ...asked.toSorted((left, right) => depth(left) - depth(right))];
};
