/** Linux capabilities by name (capabilities(7)), and the set that a container has when it asks for nothing. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';

/** In the kernel's order: the index is the number. */
export const CAPABILITIES: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_LINUX_IMMUTABLE',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_BROADCAST',
  'CAP_NET_ADMIN',
  'CAP_NET_RAW',
  'CAP_IPC_LOCK',
  'CAP_IPC_OWNER',
  'CAP_SYS_MODULE',
  'CAP_SYS_RAWIO',
  'CAP_SYS_CHROOT',
  'CAP_SYS_PTRACE',
  'CAP_SYS_PACCT',
  'CAP_SYS_ADMIN',
  'CAP_SYS_BOOT',
  'CAP_SYS_NICE',
  'CAP_SYS_RESOURCE',
  'CAP_SYS_TIME',
  'CAP_SYS_TTY_CONFIG',
  'CAP_MKNOD',
  'CAP_LEASE',
  'CAP_AUDIT_WRITE',
  'CAP_AUDIT_CONTROL',
  'CAP_SETFCAP',
  'CAP_MAC_OVERRIDE',
  'CAP_MAC_ADMIN',
  'CAP_SYSLOG',
  'CAP_WAKE_ALARM',
  'CAP_BLOCK_SUSPEND',
  'CAP_AUDIT_READ',
  'CAP_PERFMON',
  'CAP_BPF',
  'CAP_CHECKPOINT_RESTORE',
];

const DEFAULT: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SYS_CHROOT',
  'CAP_MKNOD',
  'CAP_AUDIT_WRITE',
  'CAP_SETFCAP',
];

function named(flag: string, name: string): string {
  const upper = name.toUpperCase();
  const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (!CAPABILITIES.includes(full)) {
    throw new TskataError(Code.InvalidArgument, `${flag} ${name}: not a capability of Linux, see capabilities(7)`);
  }
  return full;
}

/** What a container gets for --privileged, --cap-add and --cap-drop (ALL included), in the kernel's order. */
export function chooseCapabilities(privileged: boolean, add: readonly string[], drop: readonly string[]): string[] {
  const isAll = (name: string): boolean => name.toUpperCase() === 'ALL';
  const chosen = new Set(privileged ? CAPABILITIES : DEFAULT);
  if (drop.some(isAll)) chosen.clear();
  if (add.some(isAll)) for (const name of CAPABILITIES) chosen.add(name);
  for (const name of drop.filter((entry) => !isAll(entry))) chosen.delete(named('--cap-drop', name));
  for (const name of add.filter((entry) => !isAll(entry))) chosen.add(named('--cap-add', name));
  return CAPABILITIES.filter((name) => chosen.has(name));
}
