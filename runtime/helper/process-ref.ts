/**
 * A process that cannot be mistaken for a later one with the same number: pid and start time. Signals go by pidfd, and
 * the start time is compared after the pidfd is held, so that nothing can slip in between.
 */
import { close, readFile } from '../../agent/sys/calls.ts';
import { SIG } from '../../agent/sys/linux.ts';
import { pidfdSendSignal } from '../../agent/sys/processes.ts';
import { viewOf } from '../../agent/sys/structs.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';

/** As records have it. */
export interface ProcessRef {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat. */
  readonly startTicks: number;
}

/** Waits up to `graceMs` for the process to end by itself, kills it, and waits up to `killMs`. False: it is still there. */
export function endProcess(sys: Sys, ref: ProcessRef, graceMs: number, killMs: number): boolean {
  const pidfd = sys.call(SYS.pidfd_open, ref.pid, 0);
  if (pidfd < 0) return true;
  try {
    if (startTicks(sys, ref.pid) !== ref.startTicks) return true;
    if (graceMs > 0 && waitEnd(sys, pidfd, graceMs)) return true;
    pidfdSendSignal(sys, pidfd, SIG.KILL);
    return waitEnd(sys, pidfd, killMs);
  } finally {
    close(sys, pidfd);
  }
}

/** Whether the very process is there. */
export function isAlive(sys: Sys, ref: ProcessRef): boolean {
  return startTicks(sys, ref.pid) === ref.startTicks;
}

/** Start time of a living process, undefined for a dead one or a zombie. */
export function startTicks(sys: Sys, pid: number): number | undefined {
  try {
    return parseStartTicks(readFile(sys, `/proc/${pid}/stat`, 4096));
  } catch {
    return undefined;
  }
}

/** From the text of /proc/PID/stat. The name in it may hold spaces and parentheses. */
export function parseStartTicks(stat: string): number | undefined {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  const ticks = Number(fields[19]);
  return Number.isSafeInteger(ticks) ? ticks : undefined;
}

function waitEnd(sys: Sys, pidfd: number, timeoutMs: number): boolean {
  const poll = new Uint8Array(8);
  viewOf(poll).setInt32(0, pidfd, true);
  viewOf(poll).setInt16(4, 1, true);
  return sys.call(SYS.poll, poll, 1, timeoutMs) > 0;
}
