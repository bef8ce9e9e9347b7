/**
 * Owns the spawn plan of a further process in a running container. It joins every namespace of the container's init by
 * that process's pidfd, all in one call, so that it cannot end up in half of them.
 */

import { AT, CLONE, O } from '../../sys/linux.ts';
import type { SpawnPlan } from '../../sys/plan.ts';
import { SYS } from '../../sys/syscalls.ts';
import type { Identity, ProcessSpec } from '../spec.ts';
import { PlanBuilder } from './builder.ts';
import { becomeNamespaceRoot, type Filter, finishSteps } from './identity.ts';
import { terminalSteps } from './terminal.ts';

/** Everything is made; the next byte starts the program. */
export const EXEC_SYNC = 'exec';

/** What the plan is computed from. */
export interface ExecInput {
  readonly process: ProcessSpec;
  readonly identity: Identity;
  readonly env: readonly string[];
  readonly filter?: Filter;
  readonly initPidfd: number;
  readonly joinFlags: number;
  /** /proc/PID/ns/cgroup of init. It is joined after the birth: a clone into a cgroup outside of it is refused. */
  readonly cgroupNamespaceFd?: number;
  readonly cgroupFd: number;
  readonly stdio?: readonly [number, number, number];
}

/** Computes the plan. */
export function planExec(input: ExecInput): SpawnPlan {
  const plan = new PlanBuilder();
  const stdio = [plan.slot(), plan.slot(), plan.slot()] as const;
  const slots: Record<number, number> = {};
  if (input.stdio !== undefined) {
    stdio.forEach((slot, index) => {
      slots[slot.slot] = input.stdio?.[index] ?? -1;
    });
  }
  if ((input.joinFlags & CLONE.NEWUSER) !== 0) becomeNamespaceRoot(plan);
  plan.call('make a session', SYS.setsid, []);
  if (input.cgroupNamespaceFd !== undefined) {
    const namespace = plan.slot();
    slots[namespace.slot] = input.cgroupNamespaceFd;
    plan.call('join the cgroup namespace', SYS.setns, [namespace, CLONE.NEWCGROUP]);
  }
  plan.call('clear umask', SYS.umask, [0]);
  let streams: readonly [(typeof stdio)[0], (typeof stdio)[0], (typeof stdio)[0]] = stdio;
  if (input.process.terminal) {
    const root = plan.slot();
    plan.call('open /', SYS.openat, [AT.FDCWD, '/', O.PATH | O.DIRECTORY | O.CLOEXEC, 0], { result: root });
    const slave = terminalSteps(plan, root, input.process, input.identity.uid);
    streams = [slave, slave, slave];
  }
  finishSteps(plan, {
    process: input.process,
    identity: input.identity,
    ...(input.filter === undefined ? {} : { filter: input.filter }),
    stdio: streams,
    hold: EXEC_SYNC,
    env: input.env,
  });
  return {
    cloneFlags: 0,
    cgroupFd: input.cgroupFd,
    enter: [{ fd: input.initPidfd, type: input.joinFlags }],
    slots,
    steps: plan.steps,
  };
}
