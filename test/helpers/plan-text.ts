/** A spawn plan as text that people can review: one step a line, system calls by name. */
import { errnoName } from '../../agent/sys/errno.ts';
import type { Operand, SpawnPlan, Step } from '../../agent/sys/plan.ts';
import { SYS } from '../../agent/sys/syscalls.ts';

const names = new Map<number, string>(Object.entries(SYS).map(([name, nr]) => [nr, name]));

function bytesText(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('latin1');
  return /^[\n\x20-\x7e]+$/.test(text) ? JSON.stringify(text) : `<${Buffer.from(bytes).toString('hex')}>`;
}

function operand(value: Operand): string {
  if (value === null) return 'NULL';
  if (typeof value === 'number') return value >= 0x100 ? `0x${value.toString(16)}` : String(value);
  if (typeof value === 'string') return JSON.stringify(value);
  return 'slot' in value ? `$${value.slot}` : bytesText(value);
}

function stepText(step: Step): string {
  switch (step.op) {
    case 'call': {
      const result = step.result === undefined ? '' : `$${step.result} = `;
      const ignore = step.ignore === undefined ? '' : ` unless ${step.ignore.map(errnoName).join(' ')}`;
      return `${result}${names.get(step.nr) ?? `call ${step.nr}`}(${step.args.map(operand).join(', ')})${ignore}`;
    }
    case 'write':
      return `write ${step.path} ${bytesText(step.bytes)}`;
    case 'resolve': {
      const kind = step.create ? `make ${step.leaf}` : step.optional === true ? 'find if there' : 'find';
      return `$${step.result} = ${kind} ${step.path} below $${step.root.slot}`;
    }
    case 'sync':
      return `sync ${step.name}${step.fd === undefined ? '' : ` with $${step.fd.slot}`}`;
    case 'seccomp':
      return `seccomp filter of ${step.filter.length} bytes, flags ${step.flags}`;
    case 'stdio':
      return `stdio ${step.fds.map(({ slot }) => `$${slot}`).join(' ')}`;
    case 'exec':
      return `exec ${step.path} [${step.argv.join(' ')}] in ${step.searchPath.join(':')} with ${step.env.join(' ')}`;
    case 'exit':
      return `exit ${step.status}`;
  }
}

/** The whole plan. */
export function planText(plan: SpawnPlan): string {
  const head = [
    `clone 0x${plan.cloneFlags.toString(16)}${plan.cgroupFd === undefined ? '' : ` into cgroup ${plan.cgroupFd}`}`,
    ...(plan.enter ?? []).map(({ fd, type }) => `enter 0x${type.toString(16)} of ${fd}`),
    ...Object.entries(plan.slots).map(([slot, fd]) => `$${slot} is ${fd}`),
  ];
  const steps = plan.steps.map((step) => `${stepText(step)}  # ${step.label}`);
  return `${[...head, ...steps].join('\n')}\n`;
}
