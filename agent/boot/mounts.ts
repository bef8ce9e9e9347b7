/**
 * Owns the early mount table of the guest. The kernel's first root cannot be pivoted away from (it has no parent), so
 * the agent makes a root of its own on top of it: containers are then entered by pivot_root as anywhere else.
 */

import { CGROUP, CONTAINERS, CONTAINERS_CGROUP, SHARES, STORAGE } from '../paths.ts';
import { mkdirAll, readFile, symlink, writeFile } from '../sys/calls.ts';
import { check } from '../sys/errors.ts';
import { MS } from '../sys/linux.ts';
import { mount } from '../sys/mounts.ts';
import type { Sys } from '../sys/sys.ts';
import { SYS } from '../sys/syscalls.ts';

const NEW_ROOT = '/newroot';

interface EarlyMount {
  readonly target: string;
  readonly type: string;
  readonly flags: number;
  readonly data: string;
}

const QUIET = MS.NOSUID | MS.NODEV | MS.NOEXEC;

/** In order; each on a directory that the agent makes. */
const EARLY_MOUNTS: readonly EarlyMount[] = [
  { target: '/proc', type: 'proc', flags: QUIET, data: '' },
  { target: '/sys', type: 'sysfs', flags: QUIET, data: '' },
  { target: '/dev', type: 'devtmpfs', flags: MS.NOSUID, data: 'mode=0755' },
  { target: '/dev/pts', type: 'devpts', flags: MS.NOSUID | MS.NOEXEC, data: 'gid=5,mode=0620,ptmxmode=0666' },
  // Device nodes for user namespaces live here, so it is not nodev.
  { target: '/run', type: 'tmpfs', flags: MS.NOSUID, data: 'mode=0755' },
  // nsdelegate: a cgroup namespace is a border that its root cannot cross.
  { target: CGROUP, type: 'cgroup2', flags: QUIET, data: 'nsdelegate,memory_recursiveprot' },
];

/** Controllers that containers get, of those that the kernel has. Limits of another one are refused when asked for. */
const CONTROLLERS = new Set(['cpu', 'cpuset', 'io', 'memory', 'pids', 'hugetlb', 'misc']);

/** Makes the guest's file systems. Throws SysError: without them there is no sandbox. */
export function makeMounts(sys: Sys): void {
  mkdirAll(sys, NEW_ROOT);
  mount(sys, 'tmpfs', NEW_ROOT, 'tmpfs', MS.NOSUID | MS.NODEV, 'mode=0755,size=1m');
  for (const { target, type, flags, data } of EARLY_MOUNTS) {
    const path = `${NEW_ROOT}${target}`;
    mkdirAll(sys, path);
    mount(sys, type, path, type, flags, data);
  }
  check(sys.call(SYS.chdir, NEW_ROOT), 'chdir', NEW_ROOT);
  mount(sys, '.', '/', '', MS.MOVE);
  check(sys.call(SYS.chroot, '.'), 'chroot', NEW_ROOT);
  check(sys.call(SYS.chdir, '/'), 'chdir', '/');
  symlink(sys, '/proc/self/fd', '/dev/fd');
  // Searchable: the root of a user namespace, which is nobody here, mounts from them.
  for (const path of [STORAGE, SHARES, CONTAINERS]) mkdirAll(sys, path, 0o711);
}

/** Hands the controllers down to the containers' groups. */
export function makeCgroups(sys: Sys): void {
  mkdirAll(sys, CONTAINERS_CGROUP);
  const there = readFile(sys, `${CGROUP}/cgroup.controllers`).trim().split(' ');
  const wanted = there.filter((controller) => CONTROLLERS.has(controller)).map((controller) => `+${controller}`);
  for (const directory of [CGROUP, CONTAINERS_CGROUP]) {
    writeFile(sys, `${directory}/cgroup.subtree_control`, wanted.join(' '));
  }
}
