/** The kernel's back ends of virtio devices: which of them this host has. Knows no machine. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

export const VHOST_NET = '/dev/vhost-net';

/** Opens the device, which also loads its module: the node alone is there without. */
export async function isVhostUsable(device: string): Promise<boolean> {
  try {
    const handle = await open(device, constants.O_RDWR);
    await handle.close();
    return true;
  } catch {
    return false;
  }
}
