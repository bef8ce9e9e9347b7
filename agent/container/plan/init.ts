/**
 * Owns the spawn plan of a container's init: one list from the clone to the exec, a pure function of its input. What
 * the parent must do at each `sync` is said by the names below.
 */

import { E } from '../../sys/errno.ts';
import { AF, CLONE, IFF, IOCTL, MOUNT_ATTR, SOCK } from '../../sys/linux.ts';
import type { SpawnPlan } from '../../sys/plan.ts';
import { ifreq, utf8 } from '../../sys/structs.ts';
import { SYS } from '../../sys/syscalls.ts';
import type { BoundFile, ContainerSpec, Identity } from '../spec.ts';
import { PlanBuilder } from './builder.ts';
import { deviceSteps } from './devices.ts';
import { becomeNamespaceRoot, type Filter, finishSteps } from './identity.ts';
import { parseMountOptions } from './mount-options.ts';
import { boundFileSteps, isDevMount, lateReadOnlySteps, type MountScope, mountSteps } from './mounts.ts';
import type { NamespacePlan } from './namespaces.ts';
import { maskSteps, readOnlySteps } from './paths.ts';
import { ownRootSteps, pivotSteps, propagationSteps, type RootSource } from './rootfs.ts';
import { sysctlSteps } from './sysctl.ts';
import { consoleSteps, terminalSteps } from './terminal.ts';

/** The parent writes the id maps. */
export const MAP_SYNC = 'map';
/** Everything is made; the next byte starts the program. */
export const CREATED_SYNC = 'created';

/** What the plan is computed from. */
export interface InitInput {
  readonly containerId: string;
  readonly spec: ContainerSpec;
  readonly namespaces: NamespacePlan;
  readonly rootfs: RootSource;
  /** An empty directory of the agent's. */
  readonly mountPoint: string;
  readonly files: readonly BoundFile[];
  readonly identity: Identity;
  readonly env: readonly string[];
  readonly filter?: Filter;
  /** Directory with device nodes to bind, of containers with a user namespace. */
  readonly nodeDirectory?: string;
  readonly cgroupPath: string;
  readonly cgroupFd: number;
  /** Child's ends of the pipes, or /dev/null; unused with a terminal. */
  readonly stdio?: readonly [number, number, number];
  /** A namespace to enter before the clone: the pid namespace of another container. */
  readonly enter?: SpawnPlan['enter'];
}

/** KEYCTL_JOIN_SESSION_KEYRING. */
const JOIN_SESSION_KEYRING = 1;

/** Computes the plan. Throws RangeError when the spec needs more slots than there are. */
export function planInit(input: InitInput): SpawnPlan {
  const { spec } = input;
  const plan = new PlanBuilder();
  const stdio = [plan.slot(), plan.slot(), plan.slot()] as const;
  const flags = input.namespaces.cloneFlags;
  const scope: MountScope = {
    root: plan.slot(),
    target: plan.slot(),
    source: plan.slot(),
    mount: plan.slot(),
    userNamespace: (flags & CLONE.NEWUSER) !== 0,
    networkNamespace: (flags & CLONE.NEWNET) !== 0,
    cgroupNamespace: input.namespaces.unshareCgroup,
    gidMappings: spec.gidMappings,
    cgroupPath: input.cgroupPath,
  };
  sessionSteps(plan, input, scope);
  ownRootSteps(plan, input.rootfs, input.mountPoint, scope.root);
  for (const mount of spec.mounts) mountSteps(plan, scope, mount);
  if (!spec.mounts.some((mount) => isDevMount(mount) && mount.storagePath !== undefined)) {
    deviceSteps(plan, scope, spec.devices, input.nodeDirectory);
  }
  for (const file of input.files) boundFileSteps(plan, scope, file);
  let streams: (typeof stdio)[number][] = [...stdio];
  if (spec.process.terminal) {
    const slave = terminalSteps(plan, scope.root, spec.process, input.identity.uid);
    consoleSteps(plan, scope, slave);
    streams = [slave, slave, slave];
  }
  // runc makes a working directory that the image lacks; it belongs to root.
  const cwd = plan.slot();
  plan.resolve(`chdir to cwd ("${spec.process.cwd}")`, scope.root, spec.process.cwd, 'directory', cwd);
  protectSteps(plan, scope, spec);
  pivotSteps(plan, scope.root);
  propagationSteps(plan, spec.rootfsPropagation);
  const [stdin = stdio[0], stdout = stdio[1], stderr = stdio[2]] = streams;
  finishSteps(plan, {
    process: spec.process,
    identity: input.identity,
    ...(input.filter === undefined ? {} : { filter: input.filter }),
    stdio: [stdin, stdout, stderr],
    cwd,
    hold: CREATED_SYNC,
    env: input.env,
  });
  const fds = input.stdio;
  return {
    cloneFlags: flags,
    cgroupFd: input.cgroupFd,
    ...(input.enter === undefined ? {} : { enter: input.enter }),
    slots: fds === undefined ? {} : { [stdio[0].slot]: fds[0], [stdio[1].slot]: fds[1], [stdio[2].slot]: fds[2] },
    steps: plan.steps,
  };
}

/** Session, namespaces and what belongs to them. */
function sessionSteps(plan: PlanBuilder, input: InitInput, scope: MountScope): void {
  const { spec, namespaces } = input;
  if (scope.userNamespace) {
    plan.sync(MAP_SYNC, 'wait for the id maps');
    becomeNamespaceRoot(plan);
  }
  plan.call('make a session', SYS.setsid, []);
  // A keyring of its own: without it the container's root reads the agent's. Absent when the filter or kernel says so.
  const keyring = `_ses.${input.containerId}`;
  plan.call('join a session keyring', SYS.keyctl, [JOIN_SESSION_KEYRING, keyring], { ignore: [E.ENOSYS, E.EDQUOT] });
  if (namespaces.unshareCgroup) plan.call('unshare the cgroup namespace', SYS.unshare, [CLONE.NEWCGROUP]);
  plan.call('clear umask', SYS.umask, [0]);
  if (scope.networkNamespace) loopbackSteps(plan, scope);
  if ((namespaces.cloneFlags & CLONE.NEWUTS) !== 0) {
    const { hostname, domainname } = spec;
    if (hostname !== '') {
      plan.call(`set hostname ${hostname}`, SYS.sethostname, [hostname, utf8(hostname).length]);
    }
    if (domainname !== '') {
      plan.call(`set domainname ${domainname}`, SYS.setdomainname, [domainname, utf8(domainname).length]);
    }
  }
  sysctlSteps(plan, spec.sysctls);
}

/** A new network namespace has its loopback down. */
function loopbackSteps(plan: PlanBuilder, scope: MountScope): void {
  const label = 'bring up lo';
  plan.call(label, SYS.socket, [AF.INET, SOCK.DGRAM | SOCK.CLOEXEC, 0], { result: scope.source });
  plan.call(label, SYS.ioctl, [scope.source, IOCTL.SIOCSIFFLAGS, ifreq('lo', IFF.UP)]);
  plan.call(label, SYS.close, [scope.source]);
}

/** What must come after everything that writes below the root. */
function protectSteps(plan: PlanBuilder, scope: MountScope, spec: ContainerSpec): void {
  for (const mount of spec.mounts) {
    const { attributes, bind } = parseMountOptions(mount.options, mount.type);
    if (isDevMount(mount) && !bind && ((attributes.set ?? 0) & MOUNT_ATTR.RDONLY) !== 0) {
      lateReadOnlySteps(plan, scope, '/dev');
    }
  }
  readOnlySteps(plan, scope, spec.readonlyPaths);
  maskSteps(plan, scope, spec.maskedPaths);
  if (spec.rootReadonly) {
    plan.setMountAttr('make the root file system read-only', scope.root, { set: MOUNT_ATTR.RDONLY });
  }
}
