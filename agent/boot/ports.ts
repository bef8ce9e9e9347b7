/**
 * Owns finding the way to the host: two virtio-serial ports with names, or a vsock device, whichever the machine has.
 * The kernel learns the names of ports after the devices, so they may appear later than the agent.
 */
import type { Channel } from '../protocol/channel.ts';
import { BYTES_VSOCK_PORT, CONTROL_VSOCK_PORT } from '../protocol/vsock.ts';
import { exists, open, readDirectory, readFile } from '../sys/calls.ts';
import { FdChannel } from '../sys/fd-channel.ts';
import { O } from '../sys/linux.ts';
import type { Loop, Sys } from '../sys/sys.ts';
import { VsockPort } from '../sys/vsock-port.ts';
import type { Uevents } from './uevents.ts';

const CLASS = '/sys/class/virtio-ports';
/** Holds a link to the device, once there is one. */
const VSOCK_DRIVER = '/sys/bus/virtio/drivers/vmw_vsock_virtio_transport';
const PORT_TIMEOUT_MS = 30_000;

const CONTROL_PORT = 'org.tskata.control';
const BYTES_PORT = 'org.tskata.bytes';

/** The channels of control and bytes. */
export type HostChannels = readonly [control: Channel, bytes: Channel];

/** Device paths of the ports that have a name and a node by now. */
function findPorts(sys: Sys): Map<string, string> {
  const ports = new Map<string, string>();
  if (!exists(sys, CLASS)) return ports;
  for (const entry of readDirectory(sys, CLASS)) {
    const file = `${CLASS}/${entry.name}/name`;
    const path = `/dev/${entry.name}`;
    // The console is a port too, and has no name.
    if (exists(sys, file) && exists(sys, path)) ports.set(readFile(sys, file).trim(), path);
  }
  return ports;
}

function hasVsock(sys: Sys): boolean {
  return exists(sys, VSOCK_DRIVER) && readDirectory(sys, VSOCK_DRIVER).some(({ name }) => /^virtio[0-9]+$/.test(name));
}

/** Opens the way that there is. Rejects when none appears. */
export async function openHostChannels(sys: Sys, loop: Loop, uevents: Uevents): Promise<HostChannels> {
  const look = (): (() => HostChannels) | undefined => {
    const ports = findPorts(sys);
    const control = ports.get(CONTROL_PORT);
    const bytes = ports.get(BYTES_PORT);
    if (control !== undefined && bytes !== undefined) return () => openPorts(sys, loop, control, bytes);
    return hasVsock(sys) ? () => listenOnVsock(sys, loop) : undefined;
  };
  const found = await uevents.waitFor(look, PORT_TIMEOUT_MS);
  if (found === undefined) {
    throw new Error(`find the host: neither the ports ${CONTROL_PORT} and ${BYTES_PORT} nor a vsock device appeared`);
  }
  return found();
}

function openPorts(sys: Sys, loop: Loop, control: string, bytes: string): HostChannels {
  const channel = (path: string, name: string) =>
    new FdChannel(sys, loop, open(sys, path, O.RDWR | O.NONBLOCK), { name, port: true });
  return [channel(control, 'control port'), channel(bytes, 'bytes port')];
}

function listenOnVsock(sys: Sys, loop: Loop): HostChannels {
  return [
    new VsockPort(sys, loop, CONTROL_VSOCK_PORT, 'control port'),
    new VsockPort(sys, loop, BYTES_VSOCK_PORT, 'bytes port'),
  ];
}
