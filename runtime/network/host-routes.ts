/** Which families have a way out of this host, read from the kernel's routing tables as text. */
import { readFile } from 'node:fs/promises';
import type { Families } from './addressing.ts';

const ROUTES4 = '/proc/net/route';
const ROUTES6 = '/proc/net/ipv6_route';
const RTF_UP = 0x1;
const RTF_REJECT = 0x200;
const LOOPBACK = 'lo';

/** The families with a default route. A host without IPv6 has no such file. */
export async function hostFamilies(): Promise<Families> {
  const [four, six] = await Promise.all([ROUTES4, ROUTES6].map((path) => readFile(path, 'latin1').catch(() => '')));
  return { inet4: hasDefaultRoute4(four ?? ''), inet6: hasDefaultRoute6(six ?? '') };
}

/** From /proc/net/route: interface, destination, gateway, flags, ..., mask in the eighth column. */
export function hasDefaultRoute4(table: string): boolean {
  return table.split('\n').some((line) => {
    const [device = '', destination, , flags = '', , , , mask] = line.trim().split(/\s+/);
    return destination === '00000000' && mask === '00000000' && isUsable(device, flags);
  });
}

/** From /proc/net/ipv6_route: destination and its length first, flags and interface last. */
export function hasDefaultRoute6(table: string): boolean {
  return table.split('\n').some((line) => {
    const columns = line.trim().split(/\s+/);
    const [destination = '', length] = columns;
    return /^0{32}$/.test(destination) && length === '00' && isUsable(columns[9] ?? '', columns[8] ?? '');
  });
}

function isUsable(device: string, flags: string): boolean {
  const value = Number.parseInt(flags, 16);
  return device !== LOOPBACK && device !== '' && (value & RTF_UP) !== 0 && (value & RTF_REJECT) === 0;
}
