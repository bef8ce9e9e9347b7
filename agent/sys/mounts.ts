/**
 * Owns the typed calls of mounting, old and new API. Each throws `SysError`. Which mount goes where is policy and lives
 * with the callers; inside a child the same calls are plan steps.
 */
import { check } from './errors.ts';
import { AT, MOVE_MOUNT, OPEN_TREE } from './linux.ts';
import { mountAttr } from './structs.ts';
import type { Sys } from './sys.ts';
import { SYS } from './syscalls.ts';

/** mount(2). An empty `type` or `data` is NULL. */
export function mount(sys: Sys, source: string, target: string, type: string, flags: number, data = ''): void {
  const result = sys.call(SYS.mount, source, target, type === '' ? null : type, flags, data === '' ? null : data);
  check(result, `mount ${type === '' ? source : type} on`, target);
}

export function umount(sys: Sys, target: string, flags = 0): void {
  check(sys.call(SYS.umount2, target, flags), 'unmount', target);
}

/** A detached copy (OPEN_TREE.CLONE) or an O_PATH descriptor of what is at `path`; close-on-exec. */
export function openTree(sys: Sys, directory: number, path: string, flags: number): number {
  return check(sys.call(SYS.open_tree, directory, path, flags | OPEN_TREE.CLOEXEC), 'open_tree', path);
}

/** Attaches a detached mount `fd` at a path below `directory`, or on the descriptor itself when `path` is empty. */
export function moveMount(sys: Sys, fd: number, directory: number, path: string): void {
  const flags = MOVE_MOUNT.F_EMPTY_PATH | (path === '' ? MOVE_MOUNT.T_EMPTY_PATH : 0);
  check(sys.call(SYS.move_mount, fd, '', directory, path, flags), 'move_mount to', path);
}

/** Attributes of a mount: MOUNT_ATTR.* to set and to clear, MS.* propagation, user namespace for MOUNT_ATTR.IDMAP. */
export interface MountAttributes {
  readonly set: number;
  readonly clear?: number;
  readonly propagation?: number;
  readonly usernsFd?: number;
}

/** mount_setattr; `flags` AT.RECURSIVE and AT.EMPTY_PATH. */
export function mountSetattr(sys: Sys, fd: number, path: string, flags: number, attributes: MountAttributes): void {
  const bytes = mountAttr(attributes.set, attributes.clear ?? 0, attributes.propagation ?? 0, attributes.usernsFd ?? 0);
  check(sys.call(SYS.mount_setattr, fd, path, flags, bytes, bytes.length), 'mount_setattr', path);
}

/** Gives the whole tree at `path` a propagation (MS.PRIVATE, MS.SLAVE, ...). */
export function setPropagation(sys: Sys, path: string, propagation: number): void {
  mountSetattr(sys, AT.FDCWD, path, AT.RECURSIVE, { set: 0, propagation });
}
