/**
 * Owns the mounts of the specification as steps. Every target is resolved below the container's root by openat2 and
 * mounted on by descriptor, so a symbolic link in the image leads nowhere else. Sources of binds are storages of the
 * guest; no path of the host exists here.
 */
import { E } from '../../sys/errno.ts';
import { AT, FSCONFIG, FSMOUNT, FSOPEN, MOUNT_ATTR, MS, O, RESOLVE } from '../../sys/linux.ts';
import type { SlotRef } from '../../sys/plan.ts';
import { SYS } from '../../sys/syscalls.ts';
import type { BoundFile, IdMapping, Mount } from '../spec.ts';
import { isChange, type MountChange, type PlanBuilder } from './builder.ts';
import { type MountOptions, parseMountOptions } from './mount-options.ts';

/** File systems that a container may name: those without a device and without a path of the guest behind them. */
const FILE_SYSTEMS = new Set([
  'proc',
  'sysfs',
  'tmpfs',
  'ramfs',
  'devpts',
  'mqueue',
  'cgroup',
  'cgroup2',
  'hugetlbfs',
  'debugfs',
  'tracefs',
  'securityfs',
  'bpf',
  'fusectl',
  'binfmt_misc',
  'configfs',
]);

/** Whether a mount of this type can be made. */
export function isMountType(type: string): boolean {
  return type === 'bind' || FILE_SYSTEMS.has(type);
}

/** What the mounts depend on. */
export interface MountScope {
  readonly root: SlotRef;
  /** Scratch slots. */
  readonly target: SlotRef;
  readonly source: SlotRef;
  readonly mount: SlotRef;
  readonly userNamespace: boolean;
  readonly networkNamespace: boolean;
  readonly cgroupNamespace: boolean;
  readonly gidMappings: readonly IdMapping[];
  /** The container's cgroup directory in the guest. */
  readonly cgroupPath: string;
}

/** Makes one mount. */
export function mountSteps(plan: PlanBuilder, scope: MountScope, mount: Mount): void {
  const options = parseMountOptions(mount.options, mount.type);
  const label = `mount ${options.bind ? 'bind' : mount.type} on ${mount.destination}`;
  if (mount.type === 'bind' || mount.storagePath !== undefined) {
    bindSteps(plan, scope, mount, options, label);
  } else if (mount.type.startsWith('cgroup') && !scope.cgroupNamespace) {
    // Without a namespace of its own the file system would show every container's cgroup.
    guestBindSteps(plan, scope, mount.destination, scope.cgroupPath, options, label);
  } else if (mount.type === 'sysfs' && scope.userNamespace && !scope.networkNamespace) {
    // The kernel refuses a sysfs whose network namespace belongs to another user namespace.
    guestBindSteps(plan, scope, mount.destination, '/sys', options, label);
  } else {
    fileSystemSteps(plan, scope, mount, options, label);
  }
}

/** Binds a file that the agent made. */
export function boundFileSteps(plan: PlanBuilder, scope: MountScope, file: BoundFile): void {
  const label = `mount the file ${file.destination}`;
  plan.resolve(label, scope.root, file.destination, 'file', scope.target);
  plan.cloneTree(label, file.path, false, scope.mount);
  plan.setMountAttr(label, scope.mount, { set: MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV, propagation: MS.PRIVATE });
  plan.attach(label, scope.mount, scope.target);
}

/** Puts read-only on what was mounted writable because devices and links had to be made in it. */
export function lateReadOnlySteps(plan: PlanBuilder, scope: MountScope, destination: string): void {
  const label = `make ${destination} read-only`;
  plan.find(label, scope.root, destination, scope.target);
  plan.setMountAttr(label, scope.target, { set: MOUNT_ATTR.RDONLY });
}

/** Whether a mount covers /dev with a file system that the agent fills. */
export function isDevMount(mount: Mount): boolean {
  return mount.destination.replace(/\/+$/, '') === '/dev';
}

function bindSteps(plan: PlanBuilder, scope: MountScope, mount: Mount, options: MountOptions, label: string): void {
  const storage = mount.storagePath ?? '';
  if (mount.subpath === '') {
    plan.cloneTree(label, storage, options.recursiveBind, scope.mount);
  } else {
    plan.call(label, SYS.openat, [AT.FDCWD, storage, O.PATH | O.CLOEXEC, 0], { result: scope.source });
    const find = `${label}: find its source`;
    if (mount.isFile) plan.find(find, scope.source, mount.subpath, scope.source);
    else plan.findDirectory(find, scope.source, mount.subpath, scope.source);
    plan.cloneTree(label, scope.source, options.recursiveBind, scope.mount);
  }
  plan.resolve(label, scope.root, mount.destination, mount.isFile ? 'file' : 'directory', scope.target);
  attributeSteps(plan, scope, options, label);
  plan.attach(label, scope.mount, scope.target);
}

/** Binds a directory of the guest itself; only for the two cases of `mountSteps`. */
function guestBindSteps(
  plan: PlanBuilder,
  scope: MountScope,
  destination: string,
  path: string,
  options: MountOptions,
  label: string,
): void {
  plan.cloneTree(label, path, path === '/sys', scope.mount);
  plan.resolve(label, scope.root, destination, 'directory', scope.target);
  attributeSteps(plan, scope, { ...options, data: [] }, label);
  plan.attach(label, scope.mount, scope.target);
}

function fileSystemSteps(
  plan: PlanBuilder,
  scope: MountScope,
  mount: Mount,
  options: MountOptions,
  label: string,
): void {
  const type = mount.type === 'cgroup' ? 'cgroup2' : mount.type;
  if (mount.destination === '/proc' || mount.destination === '/sys') {
    strictTargetSteps(plan, scope, mount.destination, label);
  } else {
    plan.resolve(label, scope.root, mount.destination, 'directory', scope.target);
  }
  plan.call(label, SYS.fsopen, [type, FSOPEN.CLOEXEC], { result: scope.source });
  const source = mount.source === '' ? type : mount.source;
  plan.call(label, SYS.fsconfig, [scope.source, FSCONFIG.SET_STRING, 'source', source, 0]);
  for (const [key, value] of fileSystemParameters(type, options.data, scope)) {
    const command = value === null ? FSCONFIG.SET_FLAG : FSCONFIG.SET_STRING;
    plan.call(`${label}: option ${key}`, SYS.fsconfig, [scope.source, command, key, value, 0]);
  }
  plan.call(label, SYS.fsconfig, [scope.source, FSCONFIG.CMD_CREATE, null, null, 0]);
  // Devices are made in /dev afterwards: read-only comes later.
  const late = isDevMount(mount) ? MOUNT_ATTR.RDONLY : 0;
  const set = ((options.attributes.set ?? 0) & ~late) | (options.attributes.atime ?? 0);
  plan.call(label, SYS.fsmount, [scope.source, FSMOUNT.CLOEXEC, set], { result: scope.mount });
  if (options.propagation !== undefined) {
    plan.setMountAttr(label, scope.mount, { propagation: options.propagation.type });
  }
  plan.attach(label, scope.mount, scope.target);
}

/** /proc and /sys go on a directory, never through a link: what is masked there must be there. */
function strictTargetSteps(plan: PlanBuilder, scope: MountScope, destination: string, label: string): void {
  const name = destination.slice(1);
  plan.call(label, SYS.mkdirat, [scope.root, name, 0o755], { ignore: [E.EEXIST, E.EROFS] });
  plan.open(
    `${label}: must be an ordinary directory`,
    scope.root,
    name,
    { flags: O.PATH | O.DIRECTORY, resolve: RESOLVE.IN_ROOT | RESOLVE.NO_SYMLINKS },
    { result: scope.target },
  );
}

/** Parameters for fsconfig; null for a flag without value. */
function fileSystemParameters(
  type: string,
  data: readonly string[],
  scope: MountScope,
): readonly (readonly [string, string | null])[] {
  // These show one instance of the kernel's; options of v1 hierarchies mean nothing to it.
  if (type === 'cgroup2' || type === 'sysfs' || type === 'mqueue') return [];
  const parameters: [string, string | null][] = [];
  for (const word of data) {
    const equals = word.indexOf('=');
    const key = equals < 0 ? word : word.slice(0, equals);
    const value = equals < 0 ? null : word.slice(equals + 1);
    // A group that the user namespace does not map cannot own terminals; runc without root drops it too.
    if (key === 'gid' && value !== null && scope.userNamespace && !isMapped(scope.gidMappings, Number(value))) continue;
    parameters.push([key, value]);
  }
  return parameters;
}

function isMapped(mappings: readonly IdMapping[], id: number): boolean {
  return mappings.some(({ containerId, size }) => id >= containerId && id < containerId + size);
}

/** Attributes of a cloned tree: recursive ones first, so that the mount's own words win for itself. */
function attributeSteps(plan: PlanBuilder, scope: MountScope, options: MountOptions, label: string): void {
  const propagation = options.propagation ?? { type: MS.PRIVATE, recursive: true };
  const changes: MountChange[] = [
    { propagation: propagation.type, recursive: propagation.recursive },
    options.recursiveAttributes,
    options.attributes,
  ];
  for (const change of changes) {
    if (isChange(change)) plan.setMountAttr(label, scope.mount, change);
  }
}
