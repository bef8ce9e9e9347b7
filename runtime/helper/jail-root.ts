/**
 * The root of a jail: a small tmpfs that holds only what is listed, read-only, and the host's mounts detached. A pure
 * function from the description to steps.
 */
import { E } from '../../agent/sys/errno.ts';
import { AT, MNT, MOUNT_ATTR, MOVE_MOUNT, MS, O, OPEN_TREE, S } from '../../agent/sys/linux.ts';
import type { Step } from '../../agent/sys/plan.ts';
import { mountAttr } from '../../agent/sys/structs.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import { call, type JailBind, type JailSpec, SLOT_ROOT, SLOT_TARGET, SLOT_TREE, slot } from './jail.ts';

/** Room for directories and empty mount points, not for data. */
const ROOT_OPTIONS = 'mode=0755,size=256k,nr_inodes=4096';

/** The new root: a tmpfs, what is bound into it, and the old root out of reach. */
export function rootSteps(jail: JailSpec, mountPoint: string): Step[] {
  const lockdown = MS.REMOUNT | MS.BIND | MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC;
  const steps: Step[] = [
    // Not private: what the helper mounts later below a recursive bind has to arrive.
    call('detach from mounts of the helper', SYS.mount, [null, '/', null, MS.REC | MS.SLAVE, null]),
    call(`mount the jail's root on ${mountPoint}`, SYS.mount, [
      'tmpfs',
      mountPoint,
      'tmpfs',
      MS.NOSUID | MS.NODEV | MS.NOEXEC,
      ROOT_OPTIONS,
    ]),
    call('open the root', SYS.openat, [AT.FDCWD, mountPoint, O.PATH | O.DIRECTORY | O.CLOEXEC, 0], {
      result: SLOT_ROOT,
    }),
    ...jail.directories.flatMap(directorySteps),
    ...jail.binds.flatMap(bindSteps),
    ...deviceSteps(jail, mountPoint),
  ];
  if (jail.proc) {
    steps.push(
      call('make proc', SYS.mkdirat, [slot(SLOT_ROOT), 'proc', 0o755], { ignore: [E.EEXIST] }),
      // Read-only, or uid 0 could write the host's sysctls. The C virtiofsd reads one, and no other runs as root.
      call('mount proc', SYS.mount, [
        'proc',
        `${mountPoint}/proc`,
        'proc',
        MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC,
        jail.uid === 0 ? null : 'subset=pid',
      ]),
    );
  }
  steps.push(
    call('close the root', SYS.close, [slot(SLOT_ROOT)]),
    call('enter the root', SYS.chdir, [mountPoint]),
    call('change the root', SYS.pivot_root, ['.', '.']),
    call('detach the old root', SYS.umount2, ['.', MNT.DETACH]),
    call('go to the root', SYS.chdir, ['/']),
    call('make the root read-only', SYS.mount, [null, '/', null, lockdown, null]),
  );
  if (jail.devices.length > 0) {
    const flags = MS.REMOUNT | MS.BIND | MS.RDONLY | MS.NOSUID | MS.NOEXEC;
    steps.push(call('make /dev read-only', SYS.mount, [null, '/dev', null, flags, null]));
  }
  return steps;
}

function directorySteps(path: string): Step[] {
  return [
    {
      op: 'resolve',
      root: slot(SLOT_ROOT),
      path,
      leaf: 'directory',
      create: true,
      mode: 0o755,
      result: SLOT_TARGET,
      label: `make ${path}`,
    },
    call(`close ${path}`, SYS.close, [slot(SLOT_TARGET)]),
  ];
}

/** No device and no set-user-id works through any bind; nothing is executed but what is marked so. */
function mountAttributes(bind: JailBind): Uint8Array {
  let set = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV;
  if (bind.readOnly) set |= MOUNT_ATTR.RDONLY;
  if (!bind.executable) set |= MOUNT_ATTR.NOEXEC;
  return mountAttr(set, 0, bind.recursive ? 0 : MS.PRIVATE);
}

/** A detached copy of the source gets its attributes before it becomes visible anywhere. */
function bindSteps(bind: JailBind): Step[] {
  const recursive = bind.recursive ? AT.RECURSIVE : 0;
  const attributes = mountAttributes(bind);
  return [
    call(
      `open ${bind.source}`,
      SYS.open_tree,
      [AT.FDCWD, bind.source, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | recursive],
      { result: SLOT_TREE },
    ),
    call(`restrict ${bind.source}`, SYS.mount_setattr, [
      slot(SLOT_TREE),
      '',
      AT.EMPTY_PATH | recursive,
      attributes,
      attributes.length,
    ]),
    {
      op: 'resolve',
      root: slot(SLOT_ROOT),
      path: bind.target,
      leaf: bind.kind,
      create: true,
      mode: 0o755,
      result: SLOT_TARGET,
      label: `make ${bind.target}`,
    },
    call(`bind ${bind.source} on ${bind.target}`, SYS.move_mount, [
      slot(SLOT_TREE),
      '',
      slot(SLOT_TARGET),
      '',
      MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH,
    ]),
    call(`close ${bind.target}`, SYS.close, [slot(SLOT_TARGET)]),
    call(`close ${bind.source}`, SYS.close, [slot(SLOT_TREE)]),
  ];
}

/** Nodes in a tmpfs of their own, the only mount of the jail on which device nodes work. */
function deviceSteps(jail: JailSpec, mountPoint: string): Step[] {
  if (jail.devices.length === 0) return [];
  const steps: Step[] = [
    call('make /dev', SYS.mkdirat, [slot(SLOT_ROOT), 'dev', 0o755], { ignore: [E.EEXIST] }),
    call('mount /dev', SYS.mount, [
      'tmpfs',
      `${mountPoint}/dev`,
      'tmpfs',
      MS.NOSUID | MS.NOEXEC,
      'mode=0755,size=64k,nr_inodes=64',
    ]),
  ];
  for (const device of jail.devices) {
    const path = mountPoint + device.target;
    steps.push(
      ...parentDirectories(device.target).map((directory) =>
        call(`make ${directory}`, SYS.mkdirat, [AT.FDCWD, mountPoint + directory, 0o755], { ignore: [E.EEXIST] }),
      ),
      call(`make ${device.target}`, SYS.mknodat, [AT.FDCWD, path, S.IFCHR | 0o600, device.rdev]),
      call(`give ${device.target} to ${jail.uid}`, SYS.fchownat, [
        AT.FDCWD,
        path,
        jail.uid,
        jail.gid,
        AT.SYMLINK_NOFOLLOW,
      ]),
    );
  }
  return steps;
}

/** "/dev/net/tun" -> ["/dev/net"]: directories between /dev and the node. */
function parentDirectories(target: string): string[] {
  const names = target.split('/').filter((name) => name !== '');
  const result: string[] = [];
  for (let count = 2; count < names.length; count++) result.push(`/${names.slice(0, count).join('/')}`);
  return result;
}
