/**
 * The plan of a stand-in: a process of the host that stands for a container, in the sandbox's network namespace, for
 * those who look up a container's number in /proc, enter its network or watch its end. It does nothing, takes no
 * signal but SIGKILL, and ends with the helper. Pure.
 */
import { CLONE, PR, SIG } from '../../agent/sys/linux.ts';
import type { SpawnPlan } from '../../agent/sys/plan.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import { call, OWN_PROGRAM, SLOT_NETWORK, slot } from './jail.ts';

/** The native program looks for this name before it starts the engine. */
const STAND_IN_NAME = 'tskata-stand-in';

/** `title`: what the process list shows; `network`, `devNull`: descriptors of ours. */
export function buildStandInPlan(title: string, network: number, devNull: number): SpawnPlan {
  return {
    cloneFlags: 0,
    slots: { 0: devNull, [SLOT_NETWORK]: network },
    steps: [
      call('start a session', SYS.setsid, []),
      call('enter the network namespace', SYS.setns, [slot(SLOT_NETWORK), CLONE.NEWNET]),
      call('set the parent-death signal', SYS.prctl, [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]),
      { op: 'sync', name: 'ready', label: 'meet the helper' },
      { op: 'stdio', fds: [slot(0), slot(0), slot(0)], label: 'set stdio' },
      {
        op: 'exec',
        path: OWN_PROGRAM,
        argv: [STAND_IN_NAME, title],
        env: [],
        searchPath: [],
        label: 'execute the helper',
      },
    ],
  };
}
