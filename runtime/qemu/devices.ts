/**
 * The devices of a machine, one function each, as parts. It owns every property that we set on a device and the reason;
 * it knows neither the command line nor the monitor.
 */
import type { Part, PartObject } from './parts.ts';
import {
  balloonPlace,
  diskPlace,
  type Layout,
  nicPlace,
  onRootBus,
  type Place,
  ROOT_BUS,
  SLOTS_BUS,
  sharePlace,
} from './slots.ts';

/** Names of the agent's virtio-serial ports: the guest finds them in /sys/class/virtio-ports. */
const CONTROL_PORT = 'org.tskata.control';
const BYTES_PORT = 'org.tskata.bytes';

/** Id of the memory backend; `-machine memory-backend=` names it. */
export const MEMORY_ID = 'mem';

/**
 * Guest memory. Shared, because a file share may be plugged at any time and its virtiofsd must see the memory; from a
 * memfd, because /dev/shm holds at most half of the host's RAM; from a file when it was saved in one.
 */
export function memory(memoryMib: number, file: string | undefined): Part {
  const size = memoryMib * 1024 * 1024;
  const common = { id: MEMORY_ID, size, share: true };
  return file === undefined
    ? { kind: 'object', value: { 'qom-type': 'memory-backend-memfd', ...common } }
    : { kind: 'object', value: { 'qom-type': 'memory-backend-file', ...common, 'mem-path': file } };
}

/**
 * The bridge with the hotplug slots. ACPI does the plugging, as it does for the whole machine: the bridge's own
 * controller (SHPC) and its interrupts would only be probed in vain.
 */
export function slotsBridge(): Part {
  const properties = { chassis_nr: 1, shpc: false, msi: 'off' };
  return {
    kind: 'device',
    value: { driver: 'pci-bridge', id: SLOTS_BUS, ...onRootBus(ROOT_BUS.slots), ...properties },
  };
}

/** One virtio-serial controller with hvc0. Port 0 is the console's by the specification. */
export function serialConsole(fd: number): Part[] {
  return [
    { kind: 'inherited-socket', id: 'console', fd },
    virtio('virtio-serial', 'serial', onRootBus(ROOT_BUS.agent), { max_ports: 4 }),
    { kind: 'device', value: { driver: 'virtconsole', id: 'console', chardev: 'console', bus: 'serial.0', nr: 0 } },
  ];
}

/** Descriptors of the sockets that carry the agent's two ports. */
export interface AgentDescriptors {
  readonly control: number;
  readonly bytes: number;
}

/** The agent's two ports, on the controller of the console. */
export function agentPorts(fds: AgentDescriptors): Part[] {
  return [
    { kind: 'inherited-socket', id: 'control', fd: fds.control },
    { kind: 'inherited-socket', id: 'bytes', fd: fds.bytes },
    {
      kind: 'device',
      value: {
        driver: 'virtserialport',
        id: 'control',
        chardev: 'control',
        bus: 'serial.0',
        nr: 1,
        name: CONTROL_PORT,
      },
    },
    {
      kind: 'device',
      value: { driver: 'virtserialport', id: 'bytes', chardev: 'bytes', bus: 'serial.0', nr: 2, name: BYTES_PORT },
    },
  ];
}

/**
 * Vsock by the host's kernel, the other way to the agent. `fd`: an opened /dev/vhost-vsock that has the address already,
 * which is why nobody else can get it.
 */
export function vsock(cid: number, fd: number): Part {
  return virtio('vhost-vsock', 'vsock', onRootBus(ROOT_BUS.vsock), { 'guest-cid': cid, vhostfd: String(fd) });
}

/** Random bytes of the host. The limit keeps a guest from draining the host's CPU: 16 KiB a second. */
export function rng(): Part[] {
  return [
    { kind: 'object', value: { 'qom-type': 'rng-random', id: 'rng', filename: '/dev/urandom' } },
    virtio('virtio-rng', 'rng', onRootBus(ROOT_BUS.rng), { rng: 'rng', 'max-bytes': 16_384, period: 1000 }),
  ];
}

/** Gives freed pages back to the host by itself, and shrinks rather than letting the guest run out of memory. */
export function balloon(layout: Layout): Part[] {
  const properties = { 'free-page-reporting': true, 'deflate-on-oom': true };
  return [virtio('virtio-balloon', 'balloon', balloonPlace(layout), properties)];
}

/** Tells us of a kernel panic as an event. */
export function panicNotifier(): Part[] {
  return [{ kind: 'device', value: { driver: 'pvpanic-pci', id: 'panic', ...onRootBus(ROOT_BUS.panic) } }];
}

/** A disk in a slot. */
export interface DiskPart {
  readonly slot: number;
  /** Set of descriptors that holds the opened image. */
  readonly fdset: number;
  readonly readOnly: boolean;
  /** A block device of the host instead of a regular file. */
  readonly hostDevice: boolean;
  /** Nobody needs the content after the machine: the guest's flushes need not reach the host's disk. */
  readonly ephemeral: boolean;
  readonly vcpus: number;
}

/**
 * A raw disk from a descriptor. The format is always named (a guest could otherwise write a header of another one), the
 * host's page cache is used (layers are shared by all machines), and trimmed blocks become holes.
 * No lock on a read-only image: it never changes, and the locks of many machines would only cost calls.
 */
export function disk(layout: Layout, part: DiskPart): Part[] {
  const id = diskId(part.slot);
  const cache = { direct: false, 'no-flush': part.ephemeral };
  const common = { 'read-only': part.readOnly, 'auto-read-only': false, discard: 'unmap', cache };
  return [
    {
      kind: 'blockdev',
      value: {
        driver: part.hostDevice ? 'host_device' : 'file',
        'node-name': `${id}-file`,
        filename: `/dev/fdset/${part.fdset}`,
        aio: 'threads',
        locking: part.readOnly ? 'off' : 'auto',
        ...common,
      },
    },
    { kind: 'blockdev', value: { driver: 'raw', 'node-name': `${id}-raw`, file: `${id}-file`, ...common } },
    virtio('virtio-blk', id, diskPlace(layout, part.slot), {
      drive: `${id}-raw`,
      // A full disk of the host is an I/O error for whoever writes; QEMU would stop the whole machine instead.
      werror: 'report',
      rerror: 'report',
      'num-queues': Math.min(part.vcpus, 4),
      'queue-size': 256,
    }),
  ];
}

/** Id of a disk's device. */
export function diskId(slot: number): string {
  return `disk${slot}`;
}

/** A host directory through virtio-fs; `socket` is the virtiofsd's, as QEMU sees it. */
export function share(layout: Layout, index: number, tag: string, socket: string): Part[] {
  const id = `share${index}`;
  return [
    { kind: 'socket', id, path: socket },
    {
      kind: 'device',
      value: { driver: 'vhost-user-fs-pci', id, ...sharePlace(layout, index), chardev: id, tag, 'queue-size': 512 },
    },
  ];
}

/** Id of the n-th network card's back end. */
export function netdevId(index: number): string {
  return `net${index}`;
}

/** Id of the n-th network card. */
export function nicId(index: number): string {
  return `nic${index}`;
}

/** The stream socket of the user-mode network as a back end. */
export function streamNetdev(index: number, fd: number): Part {
  const addr = { type: 'fd', str: String(fd) };
  return { kind: 'netdev', value: { type: 'stream', id: netdevId(index), server: false, addr } };
}

/** An opened tap as a back end. `vhostFd`: an opened /dev/vhost-net, for packets without a trip through QEMU. */
export function tapNetdev(index: number, fd: number, vhostFd: number | undefined): Part {
  const vhost = vhostFd === undefined ? { vhost: false } : { vhost: true, vhostfd: String(vhostFd) };
  return { kind: 'netdev', value: { type: 'tap', id: netdevId(index), fd: String(fd), ...vhost } };
}

/** A network card on its back end. No boot ROM: the guest never boots from the network, and loading one costs time. */
export function nicDevice(layout: Layout, index: number, mac: string): Part {
  return virtio('virtio-net', nicId(index), nicPlace(layout, index), { netdev: netdevId(index), mac, romfile: '' });
}

/** A virtio device. Legacy is off everywhere: the guest kernel has no driver for it. */
function virtio(name: string, id: string, place: Place, properties: PartObject): Part {
  return {
    kind: 'device',
    value: { driver: `${name}-pci`, id, ...place, 'disable-legacy': 'on', ...properties },
  };
}
