/**
 * Owns finding a disk by its PCI path in sysfs, and the wait for one that is being hot-plugged. Disks have no other
 * name in the contract: serial numbers and letters are not stable.
 */

import type { Uevents } from '../boot/uevents.ts';
import { Code, TskataError } from '../protocol/errors.ts';
import { exists, readDirectory, readFile } from '../sys/calls.ts';
import type { Sys } from '../sys/sys.ts';

/** A block device of the guest. */
export interface Disk {
  /** "/dev/vda". */
  readonly node: string;
  readonly major: number;
  readonly minor: number;
}

const ROOT_BUS = '/sys/devices/pci0000:00';
const PART = /^[0-9a-f]{2}\.[0-7]$/;
/** A hot-plugged PCIe slot needs half a second to come up, more on a loaded host. */
const DISK_TIMEOUT_MS = 15_000;

/** Whether a string is a PCI path: "05.0/00.0", at most three bridges deep. */
export function isPciPath(path: string): boolean {
  const parts = path.split('/');
  return parts.length <= 4 && parts.every((part) => PART.test(part));
}

function entries(sys: Sys, path: string): string[] {
  return exists(sys, path) ? readDirectory(sys, path, 1024).map((entry) => entry.name) : [];
}

/** The directory of a PCI device. Below the root bus the bus number is the kernel's choice. */
function findDevice(sys: Sys, pciPath: string): string | undefined {
  let directory = ROOT_BUS;
  let first = true;
  for (const part of pciPath.split('/')) {
    const wanted = first ? new RegExp(`^0000:00:${part}$`) : new RegExp(`^0000:[0-9a-f]{2}:${part}$`);
    const name = entries(sys, directory).find((entry) => wanted.test(entry));
    if (name === undefined) return undefined;
    directory = `${directory}/${name}`;
    first = false;
  }
  return directory;
}

/** The disk at a PCI path, or undefined while there is none. */
function findDisk(sys: Sys, pciPath: string): Disk | undefined {
  const device = findDevice(sys, pciPath);
  if (device === undefined) return undefined;
  for (const virtio of entries(sys, device).filter((name) => /^virtio[0-9]+$/.test(name))) {
    const block = `${device}/${virtio}/block`;
    for (const name of entries(sys, block)) {
      const number = /^([0-9]+):([0-9]+)/.exec(readFile(sys, `${block}/${name}/dev`));
      const node = `/dev/${name}`;
      if (number === null || !exists(sys, node)) continue;
      return { node, major: Number(number[1]), minor: Number(number[2]) };
    }
  }
  return undefined;
}

/** The disk at a PCI path, as soon as the guest sees it. Rejects after the deadline. */
export async function waitForDisk(sys: Sys, uevents: Uevents, pciPath: string): Promise<Disk> {
  const disk = await uevents.waitFor(() => findDisk(sys, pciPath), DISK_TIMEOUT_MS);
  if (disk !== undefined) return disk;
  const fact = `no disk appeared within ${DISK_TIMEOUT_MS / 1000} s`;
  throw new TskataError(Code.NotFound, `find disk: PCI path ${pciPath}: ${fact}`);
}
