/**
 * Mounts in the helper's own mount namespace: seen by its children, by nobody else, and gone with it. Host paths come
 * from the shim; the last step of a target is never a symbolic link, so that a container image cannot redirect it.
 *
 * What is bound is opened in the host's mount namespace, as the shim sees it: where the host's mounts do not spread, a
 * volume that was mounted after this helper's start would be an empty directory here.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { close, openat2, stat } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { check, isErrno } from '../../agent/sys/errors.ts';
import { AT, CLONE, MNT, MOUNT_ATTR, MS, O, OPEN_TREE, RESOLVE, S, UMOUNT } from '../../agent/sys/linux.ts';
import { mountSetattr, moveMount, openTree, umount } from '../../agent/sys/mounts.ts';
import { setns } from '../../agent/sys/processes.ts';
import { makeDevice } from '../../agent/sys/structs.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import { type ParsedOptions, parseMountOptions } from './host-mount-options.ts';
import { overlayData, withIndex } from './overlay-data.ts';
import { type IdMaps, openUserNamespace } from './user-namespace.ts';

/** Descriptors of two mount namespaces. */
export interface MountNamespaces {
  /** That of the shim. */
  readonly host: number;
  /** The helper's own. */
  readonly own: number;
}

/** One mount; mirrors MountRequest. */
export interface HostMount {
  /** "bind" or "overlay". */
  readonly type: string;
  readonly source: string;
  /** An existing directory or regular file. */
  readonly target: string;
  readonly options: readonly string[];
  /** st_dev and inode number that a bound source must have; inode 0: any. */
  readonly device: bigint;
  readonly inode: bigint;
  /** How the owners of a bind appear; absent: as they are. */
  readonly idMap: (IdMaps & { readonly recursive: boolean }) | undefined;
}

/** The mounts that this helper made, newest last. */
export class HostMounts {
  readonly #sys: Sys;
  readonly #namespaces: MountNamespaces;
  readonly #targets: string[] = [];

  constructor(sys: Sys, namespaces: MountNamespaces) {
    this.#sys = sys;
    this.#namespaces = namespaces;
  }

  mount(request: HostMount): void {
    const { type, source, target } = request;
    const options = parseMountOptions(request.options);
    const fd = openat2(this.#sys, AT.FDCWD, target, O.PATH | O.NOFOLLOW, RESOLVE.NO_MAGICLINKS);
    try {
      this.#requirePlain(fd, `mount on ${target}`);
      if (type === 'bind' || type === 'rbind' || (options.flags & MS.BIND) !== 0) {
        this.#bind(request, fd, type === 'rbind' ? { ...options, flags: options.flags | MS.REC } : options);
      } else if (type === 'overlay') this.#overlay(target, fd, options);
      else
        throw new TskataError(Code.InvalidArgument, `mount ${source} on ${target}: type '${type}' is not allowed here`);
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

  #bind(request: HostMount, targetFd: number, options: ParsedOptions): void {
    const { source, target } = request;
    const { flags } = options;
    const recursive = flags & MS.REC ? AT.RECURSIVE : 0;
    const tree = this.#inHost(() => openTree(this.#sys, AT.FDCWD, source, OPEN_TREE.CLONE | recursive));
    try {
      this.#requireExpected(tree, request);
      let set = flags & MS.RDONLY ? MOUNT_ATTR.RDONLY : 0;
      if (flags & MS.NOSUID) set |= MOUNT_ATTR.NOSUID;
      if (flags & MS.NODEV) set |= MOUNT_ATTR.NODEV;
      if (flags & MS.NOEXEC) set |= MOUNT_ATTR.NOEXEC;
      // A directory over itself is the root of a shared tree: later mounts below it reach the jails that have it.
      const propagation = source === target ? MS.SHARED : options.propagation;
      mountSetattr(this.#sys, tree, '', AT.EMPTY_PATH | recursive, { set, propagation });
      if (request.idMap !== undefined) this.#mapOwners(tree, source, request.idMap);
      moveMount(this.#sys, tree, targetFd, '');
    } finally {
      close(this.#sys, tree);
    }
  }

  /** Only what nobody sees yet can be mapped. */
  #mapOwners(tree: number, source: string, idMap: NonNullable<HostMount['idMap']>): void {
    const namespace = openUserNamespace(this.#sys, idMap);
    try {
      const flags = AT.EMPTY_PATH | (idMap.recursive ? AT.RECURSIVE : 0);
      mountSetattr(this.#sys, tree, '', flags, { set: MOUNT_ATTR.IDMAP, usernsFd: namespace });
    } catch (error) {
      if (!isErrno(error, E.EINVAL, E.EPERM)) throw error;
      const fact = `its file system${idMap.recursive ? ', or one below it,' : ''} cannot map owners, or maps them already`;
      throw new TskataError(Code.FailedPrecondition, `bind ${source} with mapped ids: ${fact}`, error);
    } finally {
      close(this.#sys, namespace);
    }
  }

  #overlay(target: string, targetFd: number, options: ParsedOptions): void {
    // A virtiofsd knows files by inode. Without an index a hard link of a lower layer ends with the first write, which
    // would then go to whichever name the guest had looked up first. Layers without file handles, or an upper layer
    // that is still in use or came from another disk, cannot have one.
    const indexed = withIndex(options.data);
    if (this.#mountOverlay(targetFd, options.flags, indexed) >= 0) return;
    check(this.#mountOverlay(targetFd, options.flags, options.data), 'mount overlay on', target);
  }

  #mountOverlay(targetFd: number, flags: number, options: readonly string[]): number {
    const { directory, data } = overlayData(options);
    if (directory !== undefined) check(this.#sys.call(SYS.chdir, directory), 'change to', directory);
    try {
      return this.#sys.call(SYS.mount, 'overlay', `/proc/self/fd/${targetFd}`, 'overlay', flags, data);
    } finally {
      if (directory !== undefined) this.#sys.call(SYS.chdir, '/');
    }
  }

  /** What the shim looked at, and nothing else: a name may have been given to something else since. */
  #requireExpected(tree: number, { source, device, inode }: HostMount): void {
    this.#requirePlain(tree, `bind ${source}`);
    if (inode === 0n) return;
    const found = stat(this.#sys, '', AT.EMPTY_PATH, tree);
    if (found.inode === inode && makeDevice(found.device.major, found.device.minor) === Number(device)) return;
    throw new TskataError(Code.Aborted, `bind ${source}: it was replaced while it was being shared - try again`);
  }

  #requirePlain(fd: number, operation: string): void {
    const kind = stat(this.#sys, '', AT.EMPTY_PATH, fd).mode & S.IFMT;
    if (kind === S.IFDIR || kind === S.IFREG) return;
    throw new TskataError(Code.InvalidArgument, `${operation}: neither a directory nor a regular file`);
  }

  /** Between two synchronous steps of this one thread nobody sees where it stands. */
  #inHost<T>(action: () => T): T {
    setns(this.#sys, this.#namespaces.host, CLONE.NEWNS);
    try {
      return action();
    } finally {
      setns(this.#sys, this.#namespaces.own, CLONE.NEWNS);
    }
  }
}
