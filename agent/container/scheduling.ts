/**
 * Owns how a process is scheduled (OCI config.md, "scheduler" and "ioPriority"). Like the resource limits, the agent sets
 * it from outside, while the child stands before its exec.
 */
import { check } from '../sys/errors.ts';
import { schedAttr } from '../sys/structs.ts';
import type { Sys } from '../sys/sys.ts';
import { SYS } from '../sys/syscalls.ts';
import type { ProcessSpec } from './spec.ts';

const IOPRIO_WHO_PROCESS = 1;
const IOPRIO_CLASS_SHIFT = 13;

/** Throws SysError for what the kernel refuses. */
export function applyScheduling(sys: Sys, pid: number, spec: Pick<ProcessSpec, 'scheduler' | 'ioPriority'>): void {
  const { scheduler, ioPriority } = spec;
  if (scheduler !== undefined) {
    check(sys.call(SYS.sched_setattr, pid, schedAttr(scheduler), 0), 'set', `scheduler policy ${scheduler.policy}`);
  }
  if (ioPriority !== undefined) {
    const { ioClass, level } = ioPriority;
    const value = (ioClass << IOPRIO_CLASS_SHIFT) | level;
    check(sys.call(SYS.ioprio_set, IOPRIO_WHO_PROCESS, pid, value), 'set', `i/o priority ${ioClass}:${level}`);
  }
}
