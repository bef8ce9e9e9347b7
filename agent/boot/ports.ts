/**
 * Owns finding the two virtio-serial ports by their names. The kernel learns the names after the devices, so they may
 * appear later than the agent.
 */
import { exists, open, readDirectory, readFile } from '../sys/calls.ts';
import { O } from '../sys/linux.ts';
import type { Sys } from '../sys/sys.ts';
import type { Uevents } from './uevents.ts';

const CLASS = '/sys/class/virtio-ports';
const PORT_TIMEOUT_MS = 30_000;

const CONTROL_PORT = 'org.tskata.control';
const BYTES_PORT = 'org.tskata.bytes';

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

/** Descriptors of both ports. Rejects when they do not appear. */
export async function openPorts(sys: Sys, uevents: Uevents): Promise<readonly [number, number]> {
  const look = (): readonly [string, string] | undefined => {
    const ports = findPorts(sys);
    const control = ports.get(CONTROL_PORT);
    const bytes = ports.get(BYTES_PORT);
    return control === undefined || bytes === undefined ? undefined : [control, bytes];
  };
  const found = await uevents.waitFor(look, PORT_TIMEOUT_MS);
  if (found === undefined) throw new Error(`find ports: ${CONTROL_PORT} and ${BYTES_PORT} did not appear`);
  const flags = O.RDWR | O.NONBLOCK;
  return [open(sys, found[0], flags), open(sys, found[1], flags)];
}
