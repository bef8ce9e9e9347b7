/**
 * Owns the device nodes and links of a container's /dev (OCI config-linux.md, "default devices"). Whether a node may be
 * opened is the device program's decision (`cgroup/devices.ts`), not this file's.
 */
import { E } from '../../sys/errno.ts';
import { AT, S } from '../../sys/linux.ts';
import { makeDevice } from '../../sys/structs.ts';
import { SYS } from '../../sys/syscalls.ts';
import type { Device } from '../spec.ts';
import type { PlanBuilder } from './builder.ts';
import type { MountScope } from './mounts.ts';

const node = (path: string, major: number, minor: number): Device => ({
  type: 'c',
  path,
  major,
  minor,
  mode: 0o666,
  uid: 0,
  gid: 0,
});

/** Every container has these. */
const DEFAULT_DEVICES: readonly Device[] = [
  node('/dev/null', 1, 3),
  node('/dev/zero', 1, 5),
  node('/dev/full', 1, 7),
  node('/dev/random', 1, 8),
  node('/dev/urandom', 1, 9),
  node('/dev/tty', 5, 0),
];

const LINKS: readonly (readonly [string, string])[] = [
  ['fd', '/proc/self/fd'],
  ['stdin', '/proc/self/fd/0'],
  ['stdout', '/proc/self/fd/1'],
  ['stderr', '/proc/self/fd/2'],
  ['core', '/proc/kcore'],
];

const TYPE: Readonly<Record<Device['type'], number>> = { c: S.IFCHR, b: S.IFBLK, p: S.IFIFO };

/** The devices of a spec after the defaults, which it may replace by path. */
export function withDefaults(devices: readonly Device[]): readonly Device[] {
  const own = new Set(devices.map((device) => device.path));
  return [...DEFAULT_DEVICES.filter((device) => !own.has(device.path)), ...devices];
}

/** Where the agent keeps a node that a user namespace could not make itself. */
export function nodePath(directory: string, device: Device): string {
  return `${directory}/${device.type}${device.major}-${device.minor}-${device.mode.toString(8)}`;
}

/**
 * Makes nodes, or binds those of `nodeDirectory` where the user namespace forbids mknod, and the links.
 * `device.path` is absolute; the directory is made, a node that is already there stays.
 */
export function deviceSteps(
  plan: PlanBuilder,
  scope: MountScope,
  devices: readonly Device[],
  nodeDirectory: string | undefined,
): void {
  for (const device of withDefaults(devices)) {
    const label = `make the device ${device.path}`;
    if (nodeDirectory !== undefined) {
      plan.resolve(label, scope.root, device.path, 'file', scope.target);
      plan.cloneTree(label, nodePath(nodeDirectory, device), false, scope.mount);
      plan.attach(label, scope.mount, scope.target);
      continue;
    }
    const slash = device.path.lastIndexOf('/');
    const name = device.path.slice(slash + 1);
    plan.resolve(label, scope.root, device.path.slice(0, slash + 1), 'directory', scope.target);
    const number = device.type === 'p' ? 0 : makeDevice(device.major, device.minor);
    // Neither call follows a link in the last place.
    plan.call(label, SYS.mknodat, [scope.target, name, TYPE[device.type] | device.mode, number], {
      ignore: [E.EEXIST],
    });
    if (device.uid !== 0 || device.gid !== 0) {
      plan.call(label, SYS.fchownat, [scope.target, name, device.uid, device.gid, AT.SYMLINK_NOFOLLOW]);
    }
  }
  linkSteps(plan, scope);
}

function linkSteps(plan: PlanBuilder, scope: MountScope): void {
  plan.resolve('make the links of /dev', scope.root, '/dev', 'directory', scope.target);
  for (const [name, target] of LINKS) {
    plan.call(`link /dev/${name}`, SYS.symlinkat, [target, scope.target, name], { ignore: [E.EEXIST] });
  }
  // The instance's own multiplexer; a node of that name in the image is another instance's.
  plan.call('remove /dev/ptmx', SYS.unlinkat, [scope.target, 'ptmx', 0], { ignore: [E.ENOENT, E.EBUSY, E.EROFS] });
  plan.call('link /dev/ptmx', SYS.symlinkat, ['pts/ptmx', scope.target, 'ptmx'], { ignore: [E.EEXIST, E.EROFS] });
}
