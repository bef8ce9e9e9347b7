/** Owns the resource limits of a process (OCI config.md, "rlimits"). */
import { RLIMIT } from '../../sys/linux.ts';
import { rlimit } from '../../sys/structs.ts';
import { SYS } from '../../sys/syscalls.ts';
import type { Rlimit } from '../spec.ts';
import type { PlanBuilder } from './builder.ts';

const resources: ReadonlyMap<string, number> = new Map(
  Object.entries(RLIMIT).map(([name, number]) => [`RLIMIT_${name}`, number]),
);

/** Whether "RLIMIT_NOFILE" names a limit. */
export function isRlimit(type: string): boolean {
  return resources.has(type);
}

/** Must run while the process may still raise hard limits. */
export function rlimitSteps(plan: PlanBuilder, rlimits: readonly Rlimit[]): void {
  for (const { type, soft, hard } of rlimits) {
    const resource = resources.get(type);
    if (resource === undefined) continue;
    plan.call(`set ${type} to ${soft}:${hard}`, SYS.prlimit64, [0, resource, rlimit(soft, hard), null]);
  }
}
