/**
 * The spawn plan of a confined program: the flat list of steps that the child runs between clone and exec. A pure
 * function: it makes no system call, so that golden tests need no root.
 *
 * Order matters and is the policy: namespaces, a new root that holds only what is listed, rlimits, ids, capabilities,
 * no_new_privs, the parent-death signal (any change of credentials clears it), a meeting with the parent (so that a
 * parent that died before the signal was set is noticed), the descriptors, exec.
 */
import { CLONE, PR, SIG } from '../../agent/sys/linux.ts';
import type { SpawnPlan, Step } from '../../agent/sys/plan.ts';
import { rlimit } from '../../agent/sys/structs.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import { credentialSteps } from './credentials.ts';
import { call, type JailedProgram, type JailSpec, OWN_PROGRAM, SLOT_NETWORK, slot } from './jail.ts';
import { rootSteps } from './jail-root.ts';

/** The smallest limit of open files that leaves room for the descriptors' detour. */
export const MIN_OPEN_FILES = 256;

/** Builds the plan. `mountPoint` is an existing directory of the host that the new root may cover in the child. */
export function buildJailPlan(program: JailedProgram, jail: JailSpec, mountPoint: string): SpawnPlan {
  const slots: Record<number, number> = { 0: program.stdin, 1: program.log, 2: program.log };
  for (const [index, fd] of program.descriptors.entries()) slots[3 + index] = fd;
  if (typeof jail.network === 'number') slots[SLOT_NETWORK] = jail.network;
  let cloneFlags = CLONE.NEWNS | CLONE.NEWIPC | CLONE.NEWUTS;
  if (jail.newPidNamespace) cloneFlags |= CLONE.NEWPID;
  if (jail.network === 'none') cloneFlags |= CLONE.NEWNET;
  return {
    cloneFlags,
    ...(program.cgroupFd === undefined ? {} : { cgroupFd: program.cgroupFd }),
    slots,
    steps: [
      call('start a session', SYS.setsid, []),
      call('set the host name', SYS.sethostname, ['tskata', 6]),
      ...networkSteps(jail),
      ...rootSteps(jail, mountPoint),
      ...limitSteps(jail),
      ...credentialSteps(jail),
      call('set the parent-death signal', SYS.prctl, [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]),
      { op: 'sync', name: 'confined', label: 'meet the helper' },
      {
        op: 'stdio',
        fds: [slot(0), slot(1), slot(2), ...program.descriptors.map((_, index) => slot(3 + index))],
        label: 'set the descriptors',
      },
      {
        op: 'exec',
        path: program.executable,
        argv: program.argv,
        env: program.env,
        searchPath: [],
        label: `execute ${program.executable}`,
      },
    ],
  };
}

function networkSteps(jail: JailSpec): Step[] {
  if (typeof jail.network !== 'number') return [];
  return [call('enter the network namespace', SYS.setns, [slot(SLOT_NETWORK), CLONE.NEWNET])];
}

function limitSteps(jail: JailSpec): Step[] {
  return jail.limits.map((limit) =>
    call(`set resource limit ${limit.resource}`, SYS.prlimit64, [
      0,
      limit.resource,
      rlimit(limit.soft, limit.hard),
      null,
    ]),
  );
}

/** The plan of our own program in mode `copy-sparse`: not confined, but it ends with the helper. */
export function buildCopyPlan(source: string, target: string, devNull: number): SpawnPlan {
  return {
    cloneFlags: 0,
    slots: { 0: devNull, 1: 2, 2: 2 },
    steps: [
      call('set the parent-death signal', SYS.prctl, [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]),
      { op: 'sync', name: 'ready', label: 'meet the helper' },
      { op: 'stdio', fds: [slot(0), slot(1), slot(2)], label: 'set stdio' },
      {
        op: 'exec',
        path: OWN_PROGRAM,
        argv: ['tskata-helper', 'copy-sparse', source, target],
        env: [],
        searchPath: [],
        label: 'execute the helper',
      },
    ],
  };
}
