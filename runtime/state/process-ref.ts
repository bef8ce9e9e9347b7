/**
 * Owns the question "is that process still the one we started?". Refuses to signal anything itself.
 */
import { readFileSync } from 'node:fs';
import type { ProcessRef } from './record.ts';

/** Identifies a living process. Undefined when there is none with this number. */
export function findProcess(pid: number): ProcessRef | undefined {
  const startTicks = readStartTicks(pid);
  return startTicks === undefined ? undefined : { pid, startTicks };
}

/** Whether the very process still exists (a zombie does not count). */
export function isAlive(ref: ProcessRef): boolean {
  return readStartTicks(ref.pid) === ref.startTicks;
}

function readStartTicks(pid: number): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The command name may hold spaces and parentheses: fields are counted from its last closing one (proc(5)).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  const ticks = Number(fields[19]);
  return Number.isSafeInteger(ticks) ? ticks : undefined;
}
