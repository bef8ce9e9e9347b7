/** Spawn plans of typical programs, held as text: a change of policy shows as a change of these files. */
import { expect, test } from 'vitest';
import type { Operand, SpawnPlan, Step } from '../../../../agent/sys/plan.ts';
import { SYS } from '../../../../agent/sys/syscalls.ts';
import type { JailedProgram, JailSpec } from '../../../../runtime/helper/jail.ts';
import { buildCopyPlan, buildJailPlan } from '../../../../runtime/helper/jail-plan.ts';
import { buildStandInPlan } from '../../../../runtime/helper/stand-in.ts';
import { shimPlan } from '../../../../runtime/helper/start-shim.ts';

const CALL_NAMES = new Map<number, string>(Object.entries(SYS).map(([name, nr]) => [nr, name]));

const QEMU: JailSpec = {
  uid: 200_001,
  gid: 200_001,
  additionalGids: [107],
  binds: [
    {
      source: '/usr/bin/qemu',
      target: '/usr/bin/qemu',
      kind: 'file',
      readOnly: true,
      recursive: false,
      executable: true,
    },
    {
      source: '/srv/sockets',
      target: '/sockets',
      kind: 'directory',
      readOnly: true,
      recursive: false,
      executable: false,
    },
  ],
  devices: [
    { target: '/dev/null', rdev: 0x103 },
    { target: '/dev/net/tun', rdev: 0xac8 },
  ],
  directories: [],
  proc: false,
  newPidNamespace: true,
  network: 'none',
  keepCapabilities: [],
  limits: [{ resource: 4, soft: 0n, hard: 0n }],
  noNewPrivileges: true,
};

const VIRTIOFSD: JailSpec = {
  ...QEMU,
  uid: 0,
  gid: 0,
  additionalGids: [],
  binds: [
    { source: '/srv/share', target: '/share', kind: 'directory', readOnly: false, recursive: true, executable: false },
  ],
  devices: [],
  proc: true,
  keepCapabilities: [0, 1, 31, 40],
};

const USERNET: JailSpec = { ...QEMU, binds: [], devices: [], network: 'host' };

function program(changes: Partial<JailedProgram> = {}): JailedProgram {
  const { executable = '/usr/bin/qemu' } = changes;
  return { executable, argv: [executable, '-x'], env: [], stdin: 9, log: 2, descriptors: [4, 12], ...changes };
}

function operand(value: Operand): string {
  if (value === null) return 'NULL';
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') return value < 10 ? String(value) : `0x${value.toString(16)}`;
  if (value instanceof Uint8Array) return `<${Buffer.from(value).toString('hex')}>`;
  return `#${value.slot}`;
}

function line(step: Step): string {
  switch (step.op) {
    case 'call': {
      const result = step.result === undefined ? '' : `#${step.result} = `;
      const ignore = step.ignore === undefined ? '' : ` (fine: ${step.ignore.join(', ')})`;
      return `${result}${CALL_NAMES.get(step.nr)}(${step.args.map(operand).join(', ')})${ignore}`;
    }
    case 'resolve':
      return `#${step.result} = resolve(#${step.root.slot}, ${JSON.stringify(step.path)}, ${step.leaf}, create=${step.create})`;
    case 'stdio':
      return `descriptors(${step.fds.map(({ slot }) => `#${slot}`).join(', ')})`;
    case 'exec':
      return `exec(${JSON.stringify(step.path)}, ${JSON.stringify(step.argv)}, ${JSON.stringify(step.env)})`;
    default:
      return step.op;
  }
}

function text(plan: SpawnPlan): string {
  const head = [
    `clone flags 0x${plan.cloneFlags.toString(16)}`,
    ...(plan.cgroupFd === undefined ? [] : [`born in cgroup ${plan.cgroupFd}`]),
    ...Object.entries(plan.slots).map(([slot, fd]) => `#${slot} = ${fd}`),
  ];
  return `${[...head, ...plan.steps.map((step) => `${line(step)}  -- ${step.label}`)].join('\n')}\n`;
}

test.each([
  ['qemu', buildJailPlan(program(), QEMU, '/run/tskata/.jail')],
  ['qemu-sandbox-network', buildJailPlan(program({ descriptors: [] }), { ...QEMU, network: 17 }, '/run/tskata/.jail')],
  ['virtiofsd', buildJailPlan(program({ executable: '/usr/lib/virtiofsd' }), VIRTIOFSD, '/run/tskata/.jail')],
  ['usernet', buildJailPlan(program({ executable: '/opt/usernet', cgroupFd: 20 }), USERNET, '/run/tskata/.jail')],
  ['stand-in', buildStandInPlan('c1', 11, 9)],
  ['copy', buildCopyPlan('/from', '/to', 9)],
  ['shim', shimPlan('/opt/lib', ['PATH=/bin'], [5, 6, 6, 7, 8])],
])('plan of %s', async (name, plan) => {
  await expect(text(plan)).toMatchFileSnapshot(`../../../golden/helper/${name}.plan`);
});

test('no step of a jail comes after the meeting with the helper but descriptors and exec', () => {
  const { steps } = buildJailPlan(program(), QEMU, '/run/tskata/.jail');
  const meeting = steps.findIndex((step) => step.op === 'sync');
  expect(steps.slice(meeting + 1).map((step) => step.op)).toEqual(['stdio', 'exec']);
  // Any change of credentials clears the signal.
  const before = steps[meeting - 1];
  expect(before?.label).toBe('set the parent-death signal');
});

test('every plan fits the interpreter', () => {
  const binds = Array.from({ length: 512 }, (_, index) => ({
    ...VIRTIOFSD.binds[0],
    source: `/lib/${index}`,
    target: `/lib/${index}`,
  })) as JailSpec['binds'];
  expect(buildJailPlan(program(), { ...QEMU, binds }, '/x').steps.length).toBeLessThan(4096);
});
