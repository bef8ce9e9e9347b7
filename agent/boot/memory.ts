/** Owns how much memory the guest's kernel keeps back for itself. Knows no container. */
import { readFile, writeFile } from '../sys/calls.ts';
import type { Sys } from '../sys/sys.ts';

const MIN_FREE = '/proc/sys/vm/min_free_kbytes';
const SMALLEST_RESERVE_KIB = 1024;
/** Of all memory: 2 MiB of 1 GiB. */
const RESERVE_FRACTION = 512;

/**
 * Sets the reserve for allocations that cannot wait. Linux sizes it for a machine with huge pages always at hand: 22 MiB
 * from 1 GiB of memory on, and half as much again that containers then cannot have.
 */
export function limitReserve(sys: Sys): void {
  const totalKib = Number(/^MemTotal:\s+(\d+) kB$/m.exec(readFile(sys, '/proc/meminfo'))?.[1] ?? 0);
  try {
    writeFile(sys, MIN_FREE, String(reserveKib(totalKib)));
  } catch {
    // A kernel without this setting keeps its own reserve, which is only larger.
  }
}

/** The reserve for a guest with so much memory, both in KiB. */
export function reserveKib(totalKib: number): number {
  return Math.max(SMALLEST_RESERVE_KIB, Math.floor(totalKib / RESERVE_FRACTION));
}
