/**
 * Owns what makes a prepared child the process that was asked for: directory, privileges, filter, user, capabilities,
 * in the one order that works. Shared by a container's init and by exec. Knows nothing of mounts.
 */

import { IOCTL, PR } from '../../sys/linux.ts';
import type { SlotRef } from '../../sys/plan.ts';
import { words32 } from '../../sys/structs.ts';
import { SYS } from '../../sys/syscalls.ts';
import type { Identity, ProcessSpec } from '../spec.ts';
import type { PlanBuilder } from './builder.ts';
import { boundingSteps, capabilitySteps } from './capabilities.ts';

/** Directories that are searched when the environment names none. */
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const DEFAULT_UMASK = 0o022;

/** A compiled filter. */
export interface Filter {
  readonly bytes: Uint8Array;
  readonly flags: number;
}

/** What the final steps need. */
export interface Finish {
  readonly process: ProcessSpec;
  readonly identity: Identity;
  readonly filter?: Filter;
  readonly stdio: readonly [SlotRef, SlotRef, SlotRef];
  /** Opened directory to start in; undefined: `process.cwd` by path. */
  readonly cwd?: SlotRef;
  /** Name of the `sync` just before the exec. */
  readonly hold: string;
  /** Environment after defaults were added. */
  readonly env: readonly string[];
}

/** The root user of a new or entered user namespace, with its capabilities. */
export function becomeNamespaceRoot(plan: PlanBuilder): void {
  plan.call('clear groups in the user namespace', SYS.setgroups, [0, null]);
  plan.call('become group 0 of the user namespace', SYS.setresgid, [0, 0, 0]);
  plan.call('become user 0 of the user namespace', SYS.setresuid, [0, 0, 0]);
}

/** Everything from the working directory to the exec. */
export function finishSteps(plan: PlanBuilder, finish: Finish): void {
  const { process, identity, filter } = finish;
  if (finish.cwd === undefined) {
    plan.call(`chdir to cwd ("${process.cwd}")`, SYS.chdir, [process.cwd]);
  } else {
    plan.call(`chdir to cwd ("${process.cwd}")`, SYS.fchdir, [finish.cwd]);
  }
  plan.steps.push({ op: 'stdio', fds: finish.stdio, label: 'set standard streams' });
  // A controlling terminal is taken by the session leader itself, once it is descriptor 0.
  if (process.terminal) plan.call('take the controlling terminal', SYS.ioctl, [0, IOCTL.TIOCSCTTY, 0]);
  if (process.personality !== 0) plan.call('set personality', SYS.personality, [process.personality]);
  if (process.noNewPrivileges) {
    plan.call('set no_new_privs', SYS.prctl, [PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0]);
  } else if (filter !== undefined) {
    // Without no_new_privs the kernel wants CAP_SYS_ADMIN, which the next steps may drop.
    plan.steps.push({ op: 'seccomp', filter: filter.bytes, flags: filter.flags, label: 'install the seccomp filter' });
  }
  boundingSteps(plan, process.capabilities);
  plan.call('set groups', SYS.setgroups, [
    identity.groups.length,
    identity.groups.length === 0 ? null : words32(...identity.groups),
  ]);
  plan.call(`become group ${identity.gid}`, SYS.setresgid, [identity.gid, identity.gid, identity.gid]);
  plan.call(`become user ${identity.uid}`, SYS.setresuid, [identity.uid, identity.uid, identity.uid]);
  capabilitySteps(plan, process.capabilities);
  plan.call('set umask', SYS.umask, [process.umask ?? DEFAULT_UMASK]);
  plan.sync(finish.hold, 'wait for the start');
  if (process.noNewPrivileges && filter !== undefined) {
    plan.steps.push({ op: 'seccomp', filter: filter.bytes, flags: filter.flags, label: 'install the seccomp filter' });
  }
  const file = process.args[0] ?? '';
  plan.steps.push({
    op: 'exec',
    path: file,
    argv: process.args,
    env: finish.env,
    searchPath: searchPath(finish.env),
    label: `exec: "${file}"`,
  });
}

/** The directories of PATH; an empty one stands for the working directory. */
function searchPath(env: readonly string[]): readonly string[] {
  const variable = env.find((entry) => entry.startsWith('PATH='));
  const value = variable === undefined ? DEFAULT_PATH : variable.slice('PATH='.length);
  return value.split(':').map((directory) => (directory === '' ? '.' : directory));
}
