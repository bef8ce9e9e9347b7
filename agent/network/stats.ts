/** Owns the counters of network interfaces, read from /proc: one file, whatever the number of interfaces. */

import type { InterfaceStats } from '../protocol/generated/agent.ts';
import { readFile } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { isErrno } from '../sys/errors.ts';
import type { Sys } from '../sys/sys.ts';

/** The text of /proc/PID/net/dev: two head lines, then "name: 8 receive counters 8 transmit counters". */
export function parseNetDev(text: string): InterfaceStats[] {
  const interfaces: InterfaceStats[] = [];
  for (const line of text.split('\n').slice(2)) {
    const colon = line.indexOf(':');
    if (colon < 0) continue;
    const words = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/);
    if (!words.every((word) => /^[0-9]+$/.test(word))) continue;
    const counters = words.map(BigInt);
    const [rxBytes = 0n, rxPackets = 0n, rxErrors = 0n, rxDropped = 0n] = counters;
    const [txBytes = 0n, txPackets = 0n, txErrors = 0n, txDropped = 0n] = counters.slice(8);
    interfaces.push({
      name: line.slice(0, colon).trim(),
      rxBytes,
      rxPackets,
      rxErrors,
      rxDropped,
      txBytes,
      txPackets,
      txErrors,
      txDropped,
    });
  }
  return interfaces;
}

/** Counters of the namespace of a process; none when it has just ended. */
export function interfaceStats(sys: Sys, pid: number | 'self'): InterfaceStats[] {
  try {
    return parseNetDev(readFile(sys, `/proc/${pid}/net/dev`));
  } catch (error) {
    if (isErrno(error, E.ENOENT, E.ESRCH, E.EINVAL)) return [];
    throw error;
  }
}
