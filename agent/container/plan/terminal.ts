/**
 * Owns the opening of a terminal in a container's own devpts. The agent takes the master by pidfd_getfd at the `sync`;
 * the slave never leaves the container.
 */

import { IOCTL, O, RESOLVE } from '../../sys/linux.ts';
import type { SlotRef } from '../../sys/plan.ts';
import { winsize, words32 } from '../../sys/structs.ts';
import { SYS } from '../../sys/syscalls.ts';
import type { ProcessSpec } from '../spec.ts';
import type { PlanBuilder } from './builder.ts';
import type { MountScope } from './mounts.ts';

/** Name of the `sync` at which the master is taken. */
export const TERMINAL_SYNC = 'terminal';

/** Opens a pair below `root`; returns the slave's slot. */
export function terminalSteps(plan: PlanBuilder, root: SlotRef, process: ProcessSpec, uid: number): SlotRef {
  const master = plan.slot();
  const slave = plan.slot();
  plan.open(
    "open the container's /dev/pts/ptmx",
    root,
    '/dev/pts/ptmx',
    { flags: O.RDWR | O.NOCTTY | O.NONBLOCK, resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS },
    { result: master },
  );
  plan.call('unlock the terminal', SYS.ioctl, [master, IOCTL.TIOCSPTLCK, words32(0)]);
  const flags = O.RDWR | O.NOCTTY | O.CLOEXEC;
  plan.call('open the terminal', SYS.ioctl, [master, IOCTL.TIOCGPTPEER, flags], { result: slave });
  if (process.rows > 0 && process.columns > 0) {
    const size = winsize(process.rows, process.columns);
    plan.call('size the terminal', SYS.ioctl, [slave, IOCTL.TIOCSWINSZ, size]);
  }
  if (uid !== 0) plan.call('own the terminal', SYS.fchown, [slave, uid, -1]);
  plan.sync(TERMINAL_SYNC, 'hand over the terminal', master);
  plan.call('close the terminal master', SYS.close, [master]);
  return slave;
}

/** Shows the slave as /dev/console, as runc does. */
export function consoleSteps(plan: PlanBuilder, scope: MountScope, slave: SlotRef): void {
  const label = 'mount the terminal on /dev/console';
  plan.resolve(label, scope.root, '/dev/console', 'file', scope.target);
  plan.cloneTree(label, slave, false, scope.mount);
  plan.attach(label, scope.mount, scope.target);
}
