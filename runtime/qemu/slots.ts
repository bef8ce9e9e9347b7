/**
 * Where each device sits: the fixed plan of PCI addresses. The agent finds disks by these addresses, so they never
 * depend on what a sandbox happens to have. It knows no device.
 *
 * On a machine with hotplug, everything that comes and goes sits behind one PCI bridge, whose slots ACPI makes
 * hotpluggable. Sixteen PCIe root ports would do the same and cost a quarter of the guest's boot (see
 * qemu-configs/README.md). On a machine without, everything sits on the root bus.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';

/** Slots for image layers; images with more layers are packed by the image store. */
const MAX_LAYER_DISKS = 8;
/** Disk slots in all: the layers and one writable disk. */
const MAX_DISKS = MAX_LAYER_DISKS + 1;
/** Shares that a machine can have at once. */
export const MAX_SHARES = 6;

/** Network cards that a machine can have at once: one for each network of a pod. */
export const MAX_NICS = 8;

/** How a machine's devices are laid out; decides whether anything can be plugged later. */
export type Layout = 'bridge' | 'flat';

/** Device numbers on the root bus of both layouts. */
export const ROOT_BUS = { agent: 1, rng: 2, balloon: 3, panic: 4, slots: 5, vsock: 0x0f } as const;
/** QEMU's id of the bridge, and so of the bus behind it. */
export const SLOTS_BUS = 'slots';
/** Device numbers of disks: behind the bridge, or on the root bus. */
const FIRST_DISK = { bridge: 0, flat: 5 } as const;
/** Device numbers of the others are the same on both. */
const FIRST_SHARE = 0x10;
/** The first; each further one is below the one before. */
const FIRST_NIC = 0x1e;
/**
 * With a bridge, the balloon sits behind it: a bridge with an empty bus gets no memory windows of the guest kernel, and
 * then nothing that is plugged later fits. Its own two windows are rounded up to 1 MiB, room for all other slots.
 */
const BALLOON_BEHIND_BRIDGE = 0x1f;

/** Bus and address of a device, as QEMU's `bus` and `addr` properties. */
export interface Place {
  readonly bus: string;
  readonly addr: string;
}

/** A place on the root bus. */
export function onRootBus(device: number): Place {
  return { bus: 'pcie.0', addr: address(device) };
}

/** The place of a disk slot. @throws TskataError invalid_argument for a slot that does not exist. */
export function diskPlace(layout: Layout, slot: number): Place {
  if (!Number.isInteger(slot) || slot < 0 || slot >= MAX_DISKS) {
    throw new TskataError(Code.InvalidArgument, `disk slot ${slot}: a machine has slots 0 to ${MAX_DISKS - 1}`);
  }
  return at(layout, FIRST_DISK[layout] + slot);
}

/** The place of the n-th share. @throws TskataError resource_exhausted when there are no more. */
export function sharePlace(layout: Layout, index: number): Place {
  if (index >= MAX_SHARES) {
    throw new TskataError(Code.ResourceExhausted, `share ${index}: a machine has at most ${MAX_SHARES} shares`);
  }
  return at(layout, FIRST_SHARE + index);
}

/** The place of the n-th network card. @throws TskataError resource_exhausted when there are no more. */
export function nicPlace(layout: Layout, index: number): Place {
  if (index >= MAX_NICS) {
    throw new TskataError(
      Code.ResourceExhausted,
      `network card ${index}: a machine has at most ${MAX_NICS} network cards`,
    );
  }
  return at(layout, FIRST_NIC - index);
}

/** The place of the balloon. */
export function balloonPlace(layout: Layout): Place {
  return layout === 'bridge' ? at(layout, BALLOON_BEHIND_BRIDGE) : onRootBus(ROOT_BUS.balloon);
}

/** PCI path of a place, as the agent looks for it: "05.0/03.0" behind the bridge, "08.0" on the root bus. */
export function pathOf(place: Place): string {
  return place.bus === SLOTS_BUS ? `${address(ROOT_BUS.slots)}/${place.addr}` : place.addr;
}

function at(layout: Layout, device: number): Place {
  return layout === 'bridge' ? { bus: SLOTS_BUS, addr: address(device) } : onRootBus(device);
}

function address(device: number): string {
  return `${device.toString(16).padStart(2, '0')}.0`;
}
