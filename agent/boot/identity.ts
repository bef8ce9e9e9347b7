/**
 * Owns what makes one guest differ from another that was restored from the same state: host name, clock, random pool.
 */

import { invalid } from '../service/check.ts';
import { close, ioctl, open } from '../sys/calls.ts';
import { IOCTL, O } from '../sys/linux.ts';
import { sethostname, setRealtime } from '../sys/processes.ts';
import { viewOf } from '../sys/structs.ts';
import type { Sys } from '../sys/sys.ts';

const MIN_ENTROPY_BYTES = 32;
const MAX_ENTROPY_BYTES = 4096;

/** Sets the wall clock; 0 leaves it. */
export function setClock(sys: Sys, wallClockNs: bigint): void {
  // The kernel refuses times before the boot and after the year 2232.
  if (wallClockNs !== 0n) setRealtime(sys, wallClockNs);
}

/** Credits entropy to the kernel's pool and has all generators take it at once. */
export function reseed(sys: Sys, entropy: Uint8Array): void {
  if (entropy.length < MIN_ENTROPY_BYTES || entropy.length > MAX_ENTROPY_BYTES) {
    throw invalid('entropy', `has ${entropy.length} bytes, not ${MIN_ENTROPY_BYTES} to ${MAX_ENTROPY_BYTES}`);
  }
  const fd = open(sys, '/dev/urandom', O.RDWR);
  try {
    // struct rand_pool_info: bits, bytes, content.
    const info = new Uint8Array(8 + entropy.length);
    viewOf(info).setInt32(0, entropy.length * 8, true);
    viewOf(info).setInt32(4, entropy.length, true);
    info.set(entropy, 8);
    ioctl(sys, fd, IOCTL.RNDADDENTROPY, info);
    ioctl(sys, fd, IOCTL.RNDRESEEDCRNG);
  } finally {
    close(sys, fd);
  }
}

export function setHostname(sys: Sys, hostname: string): void {
  if (hostname === '') return;
  if (!/^[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?$/.test(hostname)) throw invalid('hostname', 'is not a host name');
  sethostname(sys, hostname);
}
