/**
 * Owns the init of the sandbox's shared pid namespace: a process that sleeps, in a root without a file, without a
 * privilege. The kernel gives it the orphans of the namespace, and reaps them because it ignores their ends.
 */
import { E } from '../sys/errno.ts';
import { AT, CLONE, MNT, MS, O, PR, SIG } from '../sys/linux.ts';
import type { SpawnPlan } from '../sys/plan.ts';
import { words64 } from '../sys/structs.ts';
import { SYS } from '../sys/syscalls.ts';
import { Launch, type LaunchTools } from './launch.ts';
import { PlanBuilder } from './plan/builder.ts';
import { boundingSteps, capabilitySteps } from './plan/capabilities.ts';

const SYS_PAUSE = 34;
const SIG_IGN = 1;
const NOBODY = 65_534;
const READY = 'ready';
const TIMEOUT_MS = 5_000;
const NONE = { bounding: [], effective: [], inheritable: [], permitted: [], ambient: [] };

/** Computes the plan. */
export function planSharedPid(): SpawnPlan {
  const plan = new PlanBuilder();
  const old = plan.slot();
  plan.call('make a session', SYS.setsid, []);
  // struct kernel_sigaction: handler, flags, restorer, mask.
  plan.call('ignore ends of children', SYS.rt_sigaction, [SIG.CHLD, words64(SIG_IGN, 0, 0, 0), null, 8]);
  plan.call('make mounts private', SYS.mount, [null, '/', null, MS.PRIVATE | MS.REC, null]);
  const data = 'size=0,nr_inodes=1,mode=555';
  plan.call('mount an empty root', SYS.mount, [
    'tmpfs',
    '/run',
    'tmpfs',
    MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC,
    data,
  ]);
  plan.call('open the old root', SYS.openat, [AT.FDCWD, '/', O.PATH | O.DIRECTORY | O.CLOEXEC, 0], { result: old });
  plan.call('enter the empty root', SYS.chdir, ['/run']);
  plan.call('pivot to the empty root', SYS.pivot_root, ['.', '.']);
  plan.call('enter the old root', SYS.fchdir, [old]);
  plan.call('detach the old root', SYS.umount2, ['.', MNT.DETACH]);
  plan.call('enter /', SYS.chdir, ['/']);
  boundingSteps(plan, NONE);
  plan.call('clear groups', SYS.setgroups, [0, null]);
  plan.call('become nobody', SYS.setresgid, [NOBODY, NOBODY, NOBODY]);
  plan.call('become nobody', SYS.setresuid, [NOBODY, NOBODY, NOBODY]);
  capabilitySteps(plan, NONE);
  plan.call('set no_new_privs', SYS.prctl, [PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0]);
  plan.call('forbid dumps', SYS.prctl, [PR.SET_DUMPABLE, 0, 0, 0, 0]);
  plan.sync(READY, 'tell that it is ready');
  for (let again = 0; again < 8; again += 1) plan.call('sleep', SYS_PAUSE, [], { ignore: [E.EINTR] });
  plan.steps.push({ op: 'exit', status: 0, label: 'end' });
  return { cloneFlags: CLONE.NEWPID | CLONE.NEWNS, slots: {}, steps: plan.steps };
}

/** Starts it; settles when its namespace can be entered by its pidfd. */
export async function startSharedPid(tools: LaunchTools): Promise<Launch> {
  const launch = new Launch(tools, planSharedPid(), new Map(), READY);
  const cancel = tools.loop.timer(TIMEOUT_MS, () => launch.child.signal(SIG.KILL));
  try {
    await launch.held;
    launch.release();
    return launch;
  } finally {
    cancel();
  }
}
