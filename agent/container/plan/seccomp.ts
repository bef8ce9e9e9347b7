/**
 * Owns the translation of the specification's seccomp section (OCI config-linux.md, "seccomp") into libseccomp's
 * terms. Knows nothing of BPF: `Sys.seccompCompile` makes the program.
 */

import { E } from '../../sys/errno.ts';
import { SCMP_ACT, SCMP_CMP } from '../../sys/linux.ts';
import type { SeccompRule, SeccompSource } from '../../sys/sys.ts';
import type { Seccomp, SeccompArg } from '../spec.ts';

const ACT_ERRNO = 0x00050000;
const ACT_TRACE = 0x7ff00000;

const FLAGS: ReadonlyMap<string, number> = new Map([
  ['SECCOMP_FILTER_FLAG_TSYNC', 1],
  ['SECCOMP_FILTER_FLAG_LOG', 2],
  ['SECCOMP_FILTER_FLAG_SPEC_ALLOW', 4],
]);

const OPERATORS: ReadonlyMap<string, number> = new Map(
  Object.entries(SCMP_CMP).map(([name, number]) => [`SCMP_CMP_${name}`, number]),
);

const ARCHITECTURES: ReadonlyMap<string, string> = new Map([
  ['SCMP_ARCH_X86', 'x86'],
  ['SCMP_ARCH_X86_64', 'x86_64'],
  ['SCMP_ARCH_X32', 'x32'],
]);

/** A filter that cannot be translated. */
export class SeccompError extends Error {
  override readonly name = 'SeccompError';
}

/** The numeric action, errno included. EPERM is the specification's default. */
function action(name: string, errno: number | undefined): number {
  const value = (errno ?? E.EPERM) & 0xffff;
  switch (name) {
    case 'SCMP_ACT_KILL':
    case 'SCMP_ACT_KILL_THREAD':
      return SCMP_ACT.KILL_THREAD;
    case 'SCMP_ACT_KILL_PROCESS':
      return SCMP_ACT.KILL_PROCESS;
    case 'SCMP_ACT_TRAP':
      return SCMP_ACT.TRAP;
    case 'SCMP_ACT_ERRNO':
      return ACT_ERRNO | value;
    case 'SCMP_ACT_TRACE':
      return ACT_TRACE | value;
    case 'SCMP_ACT_ALLOW':
      return SCMP_ACT.ALLOW;
    case 'SCMP_ACT_LOG':
      return SCMP_ACT.LOG;
    default:
      throw new SeccompError(`seccomp: action ${name} is not supported`);
  }
}

function argument(arg: SeccompArg): SeccompRule['args'][number] {
  const op = OPERATORS.get(arg.op);
  if (op === undefined) throw new SeccompError(`seccomp: operator ${arg.op} is not known`);
  if (arg.index > 5) throw new SeccompError(`seccomp: argument index ${arg.index} is above 5`);
  return { index: arg.index, op, value: arg.value, valueTwo: arg.valueTwo };
}

/**
 * Conditions on different arguments must all hold; several on one argument are alternatives, which libseccomp can
 * only express as one rule each.
 */
function alternatives(args: readonly SeccompArg[]): readonly SeccompRule['args'][] {
  const all = args.map(argument);
  const indexes = new Set(all.map((arg) => arg.index));
  return indexes.size === all.length ? [all] : all.map((arg) => [arg]);
}

/**
 * The filter in libseccomp's terms, and the flags of seccomp(2). `runs32Bit`: whether this kernel has 32-bit calls at
 * all; if not, filtering them would only cost time (several times that of the rest). Throws SeccompError.
 */
export function translateSeccomp(
  seccomp: Seccomp,
  runs32Bit: boolean,
): { readonly source: SeccompSource; readonly flags: number } {
  const defaultAction = action(seccomp.defaultAction, seccomp.defaultErrno);
  const rules: SeccompRule[] = [];
  for (const syscall of seccomp.syscalls) {
    const ruleAction = action(syscall.action, syscall.errno);
    // libseccomp refuses rules that say what the default says.
    if (ruleAction === defaultAction) continue;
    for (const args of alternatives(syscall.args)) rules.push({ names: syscall.names, action: ruleAction, args });
  }
  let flags = 0;
  for (const name of seccomp.flags) {
    const flag = FLAGS.get(name);
    if (flag === undefined) throw new SeccompError(`seccomp: flag ${name} is not known`);
    flags |= flag;
  }
  const architectures: string[] = [];
  // Architectures that this guest cannot run have nothing to filter.
  for (const name of seccomp.architectures) {
    const known = ARCHITECTURES.get(name);
    if (known !== undefined && (runs32Bit || known === 'x86_64')) architectures.push(known);
  }
  const refuses = defaultAction !== SCMP_ACT.ALLOW && defaultAction !== SCMP_ACT.LOG;
  const source = { defaultAction, architectures, rules };
  // A call of a later time than the profile: its C library knows what to do about ENOSYS, but not about EPERM.
  return { source: refuses ? { ...source, unknownAction: ACT_ERRNO | E.ENOSYS } : source, flags };
}
