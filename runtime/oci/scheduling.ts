/**
 * Owns the names of the specification's scheduling (OCI config.md, "scheduler", "ioPriority"; config-linux.md,
 * "personality") and the kernel's numbers for them.
 */
import type { Spec, SpecProcess } from './spec.ts';

const POLICIES: ReadonlyMap<string, number> = new Map([
  ['SCHED_OTHER', 0],
  ['SCHED_FIFO', 1],
  ['SCHED_RR', 2],
  ['SCHED_BATCH', 3],
  ['SCHED_IDLE', 5],
  ['SCHED_DEADLINE', 6],
]);

const FLAGS: ReadonlyMap<string, bigint> = new Map([
  ['SCHED_FLAG_RESET_ON_FORK', 0x01n],
  ['SCHED_FLAG_RECLAIM', 0x02n],
  ['SCHED_FLAG_DL_OVERRUN', 0x04n],
  ['SCHED_FLAG_KEEP_POLICY', 0x08n],
  ['SCHED_FLAG_KEEP_PARAMS', 0x10n],
]);

const IO_CLASSES: ReadonlyMap<string, number> = new Map([
  ['IOPRIO_CLASS_RT', 1],
  ['IOPRIO_CLASS_BE', 2],
  ['IOPRIO_CLASS_IDLE', 3],
]);

const PERSONALITIES: ReadonlyMap<string, number> = new Map([
  ['LINUX', 0],
  ['LINUX32', 8],
]);

const LOWEST_IO_LEVEL = 7;

/** What is wrong with a process's scheduling: path below the process, and why. */
export function* schedulingProblems({ scheduler, ioPriority }: SpecProcess): Generator<readonly [string, string]> {
  if (scheduler !== undefined) {
    if (!POLICIES.has(scheduler.policy)) yield ['scheduler.policy', unknown(scheduler.policy, POLICIES)];
    for (const [index, flag] of (scheduler.flags ?? []).entries()) {
      if (!FLAGS.has(flag)) yield [`scheduler.flags[${index}]`, unknown(flag, FLAGS)];
    }
  }
  if (ioPriority !== undefined) {
    if (!IO_CLASSES.has(ioPriority.class)) yield ['ioPriority.class', unknown(ioPriority.class, IO_CLASSES)];
    if (ioPriority.priority < 0 || ioPriority.priority > LOWEST_IO_LEVEL) {
      yield ['ioPriority.priority', `must be 0 to ${LOWEST_IO_LEVEL}`];
    }
  }
}

/** What is wrong with a personality: path below it, and why. */
export function* personalityProblems(
  personality: NonNullable<Spec['linux']>['personality'],
): Generator<readonly [string, string]> {
  if (personality === undefined) return;
  if (!PERSONALITIES.has(personality.domain)) yield ['domain', unknown(personality.domain, PERSONALITIES)];
  if ((personality.flags ?? []).length > 0) yield ['flags', 'the specification names none'];
}

/** For sched_setattr(2). The configuration has been validated before. */
export function schedulerNumbers(scheduler: NonNullable<SpecProcess['scheduler']>) {
  return {
    policy: POLICIES.get(scheduler.policy) ?? 0,
    flags: (scheduler.flags ?? []).reduce((flags, name) => flags | (FLAGS.get(name) ?? 0n), 0n),
    nice: scheduler.nice ?? 0,
    priority: scheduler.priority ?? 0,
    runtimeNs: BigInt(scheduler.runtime ?? 0),
    deadlineNs: BigInt(scheduler.deadline ?? 0),
    periodNs: BigInt(scheduler.period ?? 0),
  };
}

/** For ioprio_set(2). */
export function ioPriorityNumbers(priority: NonNullable<SpecProcess['ioPriority']>) {
  return { ioClass: IO_CLASSES.get(priority.class) ?? 0, level: priority.priority };
}

/** For personality(2); 0 where the configuration names none. */
export function personalityNumber(spec: Spec): number {
  return PERSONALITIES.get(spec.linux?.personality?.domain ?? 'LINUX') ?? 0;
}

function unknown(name: string, known: ReadonlyMap<string, unknown>): string {
  return `${JSON.stringify(name)} is not one of ${[...known.keys()].join(', ')}`;
}
