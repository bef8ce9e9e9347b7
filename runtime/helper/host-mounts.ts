/**
 * Mounts in the helper's own mount namespace: seen by its children, by nobody else, and gone with it. Host paths come
 * from the shim; the last step of a target is never a symbolic link, so that a container image cannot redirect it.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { close, openat2, stat } from '../../agent/sys/calls.ts';
import { AT, MNT, MOUNT_ATTR, MS, O, OPEN_TREE, RESOLVE, S, UMOUNT } from '../../agent/sys/linux.ts';
import { mount, mountSetattr, moveMount, openTree, umount } from '../../agent/sys/mounts.ts';
import type { Sys } from '../../agent/sys/sys.ts';

/** Mount options with a flag; all others are data of the file system. */
const FLAGS: ReadonlyMap<string, number> = new Map([
  ['ro', MS.RDONLY],
  ['rw', 0],
  ['nosuid', MS.NOSUID],
  ['nodev', MS.NODEV],
  ['noexec', MS.NOEXEC],
  ['noatime', MS.NOATIME],
  ['nodiratime', MS.NODIRATIME],
  ['relatime', MS.RELATIME],
  ['strictatime', MS.STRICTATIME],
  ['sync', MS.SYNCHRONOUS],
  ['bind', MS.BIND],
  ['rbind', MS.BIND | MS.REC],
  ['defaults', 0],
  ['suid', 0],
  ['dev', 0],
  ['exec', 0],
]);

/** Whether a bind follows what the host mounts and unmounts below its source; nothing ever goes the other way. */
const PROPAGATION: ReadonlyMap<string, number> = new Map([
  ['private', MS.PRIVATE],
  ['rprivate', MS.PRIVATE],
  ['slave', MS.SLAVE],
  ['rslave', MS.SLAVE],
]);

/** What a list of options means. */
export interface ParsedOptions {
  readonly flags: number;
  readonly data: string;
  /** MS.PRIVATE or MS.SLAVE. */
  readonly propagation: number;
}

/** Splits fstab-style options into flags and data. Throws InvalidArgument for shared propagation and remounts. */
export function parseMountOptions(options: readonly string[]): ParsedOptions {
  let flags = 0;
  let propagation: number = MS.PRIVATE;
  const data: string[] = [];
  for (const option of options) {
    const flag = FLAGS.get(option);
    if (flag !== undefined) flags |= flag;
    else if (option === 'shared' || option === 'rshared' || option === 'remount' || option === 'move') {
      throw new TskataError(Code.InvalidArgument, `mount: option ${option} is not allowed here`);
    } else {
      const named = PROPAGATION.get(option);
      if (named !== undefined) propagation = named;
      else if (option !== '') data.push(option);
    }
  }
  return { flags, data: data.join(','), propagation };
}

/** The mounts that this helper made, newest last. */
export class HostMounts {
  readonly #sys: Sys;
  readonly #targets: string[] = [];

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  /** Mounts `source` on an existing directory or file. */
  mount(type: string, source: string, target: string, options: readonly string[]): void {
    const { flags, data, propagation } = parseMountOptions(options);
    const fd = openat2(this.#sys, AT.FDCWD, target, O.PATH | O.NOFOLLOW, RESOLVE.NO_MAGICLINKS);
    try {
      const kind = stat(this.#sys, '', AT.EMPTY_PATH, fd).mode & S.IFMT;
      if (kind !== S.IFDIR && kind !== S.IFREG) {
        throw new TskataError(Code.InvalidArgument, `mount on ${target}: neither a directory nor a regular file`);
      }
      if (type === 'bind' || type === 'rbind' || (flags & MS.BIND) !== 0) {
        // A directory over itself is the root of a shared tree: later mounts below it reach the jails that have it.
        const spread = source === target ? MS.SHARED : propagation;
        this.#bind(source, fd, type === 'rbind' ? flags | MS.REC : flags, spread);
      } else mount(this.#sys, source, `/proc/self/fd/${fd}`, type, flags, data);
    } finally {
      close(this.#sys, fd);
    }
    this.#targets.push(target);
  }

  /** Undoes the last mount on `target`. NotFound when this helper made none there. */
  unmount(target: string): void {
    const index = this.#targets.lastIndexOf(target);
    if (index < 0) throw new TskataError(Code.NotFound, `unmount ${target}: this helper mounted nothing there`);
    umount(this.#sys, target, MNT.DETACH | UMOUNT.NOFOLLOW);
    this.#targets.splice(index, 1);
  }

  #bind(source: string, targetFd: number, flags: number, propagation: number): void {
    const recursive = flags & MS.REC ? AT.RECURSIVE : 0;
    const tree = openTree(this.#sys, AT.FDCWD, source, OPEN_TREE.CLONE | recursive);
    try {
      let set = 0;
      if (flags & MS.RDONLY) set |= MOUNT_ATTR.RDONLY;
      if (flags & MS.NOSUID) set |= MOUNT_ATTR.NOSUID;
      if (flags & MS.NODEV) set |= MOUNT_ATTR.NODEV;
      if (flags & MS.NOEXEC) set |= MOUNT_ATTR.NOEXEC;
      mountSetattr(this.#sys, tree, '', AT.EMPTY_PATH | recursive, { set, propagation });
      moveMount(this.#sys, tree, targetFd, '');
    } finally {
      close(this.#sys, tree);
    }
  }
}
