/** The capabilities that a container has when it asks for nothing, and what flags make of them. */
import { CAPABILITIES } from '../../agent/protocol/capabilities.ts';
import { Code, TskataError } from '../../agent/protocol/errors.ts';

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
