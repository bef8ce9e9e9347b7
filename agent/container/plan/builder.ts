/**
 * Owns the making of a step list: slots by number, steps with labels. Knows the plan's data model and nothing of what
 * a container is; the files beside it say what is put into a list and why in that order.
 */

import { AT, MOUNT_ATTR, MOVE_MOUNT, O, OPEN_TREE } from '../../sys/linux.ts';
import type { FileRef, Operand, SlotRef, Step } from '../../sys/plan.ts';
import { mountAttr, openHow } from '../../sys/structs.ts';
import { SYS } from '../../sys/syscalls.ts';

/** Slots that the interpreter has. */
const MAX_SLOTS = 64;

/** What a call step may say besides its arguments. */
export interface CallOptions {
  readonly result?: SlotRef;
  /** Error numbers that count as success. */
  readonly ignore?: readonly number[];
}

/** Collects steps. */
export class PlanBuilder {
  readonly steps: Step[] = [];
  private next = 0;

  /** A slot that no earlier step uses. Scratch slots are asked for once and overwritten. */
  slot(): SlotRef {
    if (this.next >= MAX_SLOTS) throw new RangeError(`spawn plan: more than ${MAX_SLOTS} slots`);
    const slot = { slot: this.next };
    this.next += 1;
    return slot;
  }

  /** One system call. */
  call(label: string, nr: number, args: readonly Operand[], options: CallOptions = {}): void {
    const { result, ignore } = options;
    this.steps.push({
      op: 'call',
      nr,
      args,
      ...(result === undefined ? {} : { result: result.slot }),
      ...(ignore === undefined ? {} : { ignore }),
      label,
    });
  }

  write(label: string, path: string, bytes: Uint8Array): void {
    this.steps.push({ op: 'write', path, bytes, label });
  }

  /** An O_PATH descriptor of a path below `root` that is made when it is missing. */
  resolve(label: string, root: SlotRef, path: string, leaf: 'directory' | 'file', result: SlotRef): void {
    this.steps.push({ op: 'resolve', root, path, leaf, create: true, mode: 0o755, result: result.slot, label });
  }

  /** An O_PATH descriptor of an existing path below `root`; a missing optional one leaves the slot at -1. */
  find(label: string, root: SlotRef, path: string, result: SlotRef, optional = false): void {
    this.findLeaf(label, root, path, 'any', result, optional);
  }

  /** The same for a directory: what a share announces to be mounted there is mounted first. */
  findDirectory(label: string, root: SlotRef, path: string, result: SlotRef): void {
    this.findLeaf(label, root, path, 'directory', result, false);
  }

  private findLeaf(
    label: string,
    root: SlotRef,
    path: string,
    leaf: 'any' | 'directory',
    result: SlotRef,
    optional: boolean,
  ): void {
    this.steps.push({
      op: 'resolve',
      root,
      path,
      leaf,
      create: false,
      ...(optional ? { optional: true } : {}),
      mode: 0,
      result: result.slot,
      label,
    });
  }

  sync(name: string, label: string, fd?: SlotRef): void {
    this.steps.push({ op: 'sync', name, ...(fd === undefined ? {} : { fd }), label });
  }

  /** openat2 of a path below a directory, with flags for both. */
  open(
    label: string,
    directory: SlotRef,
    path: string,
    how: { readonly flags: number; readonly resolve: number },
    options: CallOptions,
  ): void {
    const bytes = openHow(how.flags | O.CLOEXEC, 0, how.resolve);
    this.call(label, SYS.openat2, [directory, path, bytes, bytes.length], options);
  }

  /** A detached copy of the mount tree at `from` (a trusted path of the guest, or a slot). */
  cloneTree(label: string, from: FileRef, recursive: boolean, result: SlotRef, ignore?: readonly number[]): void {
    const flags = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | (recursive ? AT.RECURSIVE : 0);
    const args: Operand[] = typeof from === 'string' ? [AT.FDCWD, from, flags] : [from, '', flags | AT.EMPTY_PATH];
    this.call(label, SYS.open_tree, args, { result, ...(ignore === undefined ? {} : { ignore }) });
  }

  /** Changes attributes and propagation of the mount in a slot. */
  setMountAttr(label: string, mount: SlotRef, change: MountChange, ignore?: readonly number[]): void {
    const set = change.set ?? 0;
    // The kernel takes a new atime mode only together with a clear of the whole mode.
    const clear = (change.clear ?? 0) | (change.atime === undefined ? 0 : MOUNT_ATTR._ATIME);
    const bytes = mountAttr(set | (change.atime ?? 0), clear, change.propagation ?? 0);
    const flags = AT.EMPTY_PATH | (change.recursive === true ? AT.RECURSIVE : 0);
    this.call(
      label,
      SYS.mount_setattr,
      [mount, '', flags, bytes, bytes.length],
      ignore === undefined ? {} : { ignore },
    );
  }

  /** Puts a detached mount on a target. */
  attach(label: string, mount: SlotRef, target: FileRef, ignore?: readonly number[]): void {
    const args: Operand[] =
      typeof target === 'string'
        ? [mount, '', AT.FDCWD, target, MOVE_MOUNT.F_EMPTY_PATH]
        : [mount, '', target, '', MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH];
    this.call(label, SYS.move_mount, args, ignore === undefined ? {} : { ignore });
  }
}

/** A change of a mount's attributes. */
export interface MountChange {
  /** MOUNT_ATTR flags, atime modes excluded. */
  readonly set?: number;
  readonly clear?: number;
  /** One of the MOUNT_ATTR atime modes. */
  readonly atime?: number;
  /** MS.SHARED, MS.SLAVE, MS.PRIVATE or MS.UNBINDABLE. */
  readonly propagation?: number;
  readonly recursive?: boolean;
}

/** Whether a change changes anything. */
export function isChange(change: MountChange): boolean {
  return (
    (change.set ?? 0) !== 0 ||
    (change.clear ?? 0) !== 0 ||
    change.atime !== undefined ||
    (change.propagation ?? 0) !== 0
  );
}
