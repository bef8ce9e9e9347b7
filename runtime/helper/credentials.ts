/**
 * Ids, capabilities and securebits of a confined program, as steps of its plan. Knows nothing of its root.
 */
import { E } from '../../agent/sys/errno.ts';
import { PR } from '../../agent/sys/linux.ts';
import type { Step } from '../../agent/sys/plan.ts';
import { words32 } from '../../agent/sys/structs.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import { call, type JailSpec } from './jail.ts';

/** Capabilities in the kernel's order: the index is the number. */
const CAPABILITIES: readonly string[] = (
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE ' +
  'NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN ' +
  'SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP ' +
  'MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE'
).split(' ');

/** Highest number that a kernel may know; dropping an unknown one is EINVAL and ignored. */
const CAPABILITY_LAST = 63;

/** SECBIT_NOROOT, SECBIT_NO_SETUID_FIXUP and SECBIT_NO_CAP_AMBIENT_RAISE, each with its lock: uid 0 is a number only. */
const SECUREBITS_NO_ROOT = 0x1 | 0x2 | 0x4 | 0x8 | 0x40 | 0x80;

/** The lock of "keep capabilities over setuid". */
const SECBIT_KEEP_CAPS_LOCKED = 0x20;

/** The number of "CAP_CHOWN", or undefined. */
export function findCapability(name: string): number | undefined {
  const index = CAPABILITIES.indexOf(name.replace(/^CAP_/, ''));
  return index < 0 ? undefined : index;
}

/** _LINUX_CAPABILITY_VERSION_3. */
const CAPABILITY_VERSION = 0x20080522;

/** Ids and capabilities. The bounding set and the securebits need CAP_SETPCAP, so they come before the new ids. */
export function credentialSteps(jail: JailSpec): Step[] {
  const kept = new Set(jail.keepCapabilities);
  const steps: Step[] = [];
  for (let capability = 0; capability <= CAPABILITY_LAST; capability++) {
    if (kept.has(capability)) continue;
    steps.push(
      call(`drop capability ${capability}`, SYS.prctl, [PR.CAPBSET_DROP, capability, 0, 0, 0], { ignore: [E.EINVAL] }),
    );
  }
  const low = jail.keepCapabilities.filter((n) => n < 32).reduce((mask, n) => mask | (1 << n), 0);
  const high = jail.keepCapabilities.filter((n) => n >= 32).reduce((mask, n) => mask | (1 << (n - 32)), 0);
  const header = words32(CAPABILITY_VERSION, 0);
  // Two structs of effective, permitted, inheritable.
  const sets = words32(low, low, 0, high, high, 0);
  // A program that must stay root keeps what is left of the bounding set at exec; any other gains nothing by being root.
  const securebits = kept.size > 0 ? SECBIT_KEEP_CAPS_LOCKED : SECUREBITS_NO_ROOT | SECBIT_KEEP_CAPS_LOCKED;
  steps.push(
    call('clear ambient capabilities', SYS.prctl, [PR.CAP_AMBIENT, PR.CAP_AMBIENT_CLEAR_ALL, 0, 0, 0]),
    call('set the securebits', SYS.prctl, [PR.SET_SECUREBITS, securebits, 0, 0, 0]),
    call('set the groups', SYS.setgroups, [jail.additionalGids.length, words32(...jail.additionalGids, 0)]),
    call(`become group ${jail.gid}`, SYS.setresgid, [jail.gid, jail.gid, jail.gid]),
    call(`become user ${jail.uid}`, SYS.setresuid, [jail.uid, jail.uid, jail.uid]),
    call('set the capabilities', SYS.capset, [header, sets]),
  );
  if (jail.noNewPrivileges) {
    steps.push(call('set no_new_privs', SYS.prctl, [PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0]));
  }
  return steps;
}
