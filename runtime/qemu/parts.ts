/**
 * A part of a machine in QEMU's terms, and its two forms: words of the command line and a QMP command. Every device is
 * described once, so that a cold-plugged and a hot-plugged one are the same. It knows no particular device.
 */
import { own, type QmpObject } from './qmp/decoder.ts';

/** Values of QEMU's JSON options. */
type PartValue = string | number | boolean | PartObject;
export interface PartObject {
  readonly [key: string]: PartValue;
}

/** Something that QEMU makes. */
export type Part =
  /** `qom-type` and `id` are in `value`. */
  | { readonly kind: 'object'; readonly value: PartObject }
  /** `driver` and `node-name` are in `value`. */
  | { readonly kind: 'blockdev'; readonly value: PartObject }
  /** A connected socket that QEMU inherited as descriptor `fd`. Only for the command line. */
  | { readonly kind: 'inherited-socket'; readonly id: string; readonly fd: number }
  /** A unix socket to which QEMU connects, by its path in QEMU's root. */
  | { readonly kind: 'socket'; readonly id: string; readonly path: string }
  /** `type` and `id` are in `value`. */
  | { readonly kind: 'netdev'; readonly value: PartObject }
  /** `driver` and `id` are in `value`. */
  | { readonly kind: 'device'; readonly value: PartObject };

/** A command of the monitor. */
export interface QmpCommand {
  readonly command: string;
  readonly args: QmpObject;
}

/** The part as words of the command line. JSON where QEMU takes it, so that no value can be cut at a comma. */
export function partToArgv(part: Part): string[] {
  switch (part.kind) {
    case 'object':
      return ['-object', JSON.stringify(part.value)];
    case 'blockdev':
      return ['-blockdev', JSON.stringify(part.value)];
    case 'inherited-socket':
      return ['-chardev', `socket,id=${part.id},fd=${part.fd}`];
    case 'socket':
      return ['-chardev', `socket,id=${part.id},path=${part.path}`];
    case 'netdev':
      return ['-netdev', JSON.stringify(part.value)];
    case 'device':
      return ['-device', JSON.stringify(part.value)];
  }
}

/** The command that adds the part to a running machine. */
export function partToQmp(part: Part): QmpCommand {
  switch (part.kind) {
    case 'object':
      return { command: 'object-add', args: part.value };
    case 'blockdev':
      return { command: 'blockdev-add', args: part.value };
    case 'inherited-socket':
      throw new Error(`chardev ${part.id}: a running QEMU inherits nothing`);
    case 'socket': {
      const address = { type: 'unix', data: { path: part.path } };
      return {
        command: 'chardev-add',
        args: { id: part.id, backend: { type: 'socket', data: { addr: address, server: false } } },
      };
    }
    case 'netdev':
      return { command: 'netdev_add', args: part.value };
    case 'device':
      return { command: 'device_add', args: part.value };
  }
}

/** The command that takes the part away again. A device only begins to go: `DEVICE_DELETED` says when it has. */
export function partToUndo(part: Part): QmpCommand {
  switch (part.kind) {
    case 'object':
      return { command: 'object-del', args: { id: nameOf(part.value, 'id') } };
    case 'blockdev':
      return { command: 'blockdev-del', args: { 'node-name': nameOf(part.value, 'node-name') } };
    case 'inherited-socket':
    case 'socket':
      return { command: 'chardev-remove', args: { id: part.id } };
    case 'netdev':
      return { command: 'netdev_del', args: { id: nameOf(part.value, 'id') } };
    case 'device':
      return { command: 'device_del', args: { id: nameOf(part.value, 'id') } };
  }
}

function nameOf(value: PartObject, key: string): string {
  return String(own(value, key));
}
