/**
 * Where each device sits: the fixed plan of PCI addresses. The agent finds disks by these addresses, so they never
 * depend on what a sandbox happens to have. It knows no device.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';

/** Slots for image layers; images with more layers are packed by the image store. */
export const MAX_LAYER_DISKS = 8;
/** Slot of the writable disk, after the layers. */
export const SCRATCH_SLOT = MAX_LAYER_DISKS;
/** Disk slots in all. */
export const MAX_DISKS = MAX_LAYER_DISKS + 1;
/** Shares that a machine can have at once. */
export const MAX_SHARES = 6;

/** PCI device numbers (on the root bus) of what every machine has. */
export const FIXED = { agent: 1, rng: 2, balloon: 3, panic: 4 } as const;
/** The root ports are functions of these two devices: 8 layers, then scratch, 6 shares and the network card. */
const FIRST_PORT_DEVICE = 5;
const PORTS_PER_DEVICE = 8;

/** One hotplug slot: a PCIe root port with at most one device behind it. */
export interface Port {
  /** QEMU's id of the port and so of its bus. */
  readonly id: string;
  /** Address on the root bus, "05.0". */
  readonly address: string;
  /** PCIe slot number, unique in the machine. */
  readonly chassisSlot: number;
  /** Function 0 of a device announces the others. */
  readonly multifunction: boolean;
}

/** Every root port, in the order of their addresses. */
export const PORTS: readonly Port[] = Array.from({ length: MAX_DISKS + MAX_SHARES + 1 }, (_, index) => {
  const device = FIRST_PORT_DEVICE + Math.floor(index / PORTS_PER_DEVICE);
  const fn = index % PORTS_PER_DEVICE;
  return {
    id: `port${index}`,
    address: `${device.toString(16).padStart(2, '0')}.${fn}`,
    chassisSlot: index + 1,
    multifunction: fn === 0,
  };
});

/** The port of a disk slot. @throws TskataError invalid_argument for a slot that does not exist. */
export function diskPort(slot: number): Port {
  const port = Number.isInteger(slot) && slot >= 0 && slot < MAX_DISKS ? PORTS[slot] : undefined;
  if (port === undefined) {
    throw new TskataError(Code.InvalidArgument, `disk slot ${slot}: a machine has slots 0 to ${MAX_DISKS - 1}`);
  }
  return port;
}

/** The port of the n-th share. @throws TskataError resource_exhausted when there are no more. */
export function sharePort(index: number): Port {
  const port = index < MAX_SHARES ? PORTS[MAX_DISKS + index] : undefined;
  if (port === undefined) {
    throw new TskataError(Code.ResourceExhausted, `share ${index}: a machine has at most ${MAX_SHARES} shares`);
  }
  return port;
}

/** The port of the network card. */
export function nicPort(): Port {
  const port = PORTS[MAX_DISKS + MAX_SHARES];
  if (port === undefined) throw new Error('the port plan has no place for the network card');
  return port;
}

/** PCI path of the device behind a port, as the agent looks for it. */
export function pathBehind(port: Port): string {
  return `${port.address}/00.0`;
}
