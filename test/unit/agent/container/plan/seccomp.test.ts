import { expect, test } from 'vitest';
import { SeccompError, translateSeccomp } from '../../../../../agent/container/plan/seccomp.ts';
import type { Seccomp } from '../../../../../agent/container/spec.ts';

const base: Seccomp = {
  defaultAction: 'SCMP_ACT_ERRNO',
  architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_ARM'],
  flags: [],
  syscalls: [],
};

test('actions carry their errno, EPERM when none is said', () => {
  expect(translateSeccomp(base, true).source).toMatchObject({
    defaultAction: 0x5_0001,
    architectures: ['x86_64', 'x86'],
  });
  expect(translateSeccomp({ ...base, defaultErrno: 38 }, false).source).toMatchObject({
    defaultAction: 0x5_0026,
    architectures: ['x86_64'],
  });
});

test('rules equal to the default are left out', () => {
  const syscalls = [
    { names: ['a'], action: 'SCMP_ACT_ERRNO', args: [] },
    { names: ['b'], action: 'SCMP_ACT_ALLOW', args: [] },
  ];
  expect(translateSeccomp({ ...base, syscalls }, true).source.rules.map((rule) => rule.names)).toEqual([['b']]);
});

test('several conditions on one argument are alternatives', () => {
  const arg = (index: number, value: bigint) => ({ index, value, valueTwo: 0n, op: 'SCMP_CMP_EQ' });
  const rule = (args: ReturnType<typeof arg>[]) => ({ names: ['x'], action: 'SCMP_ACT_ALLOW', args });
  const one = translateSeccomp({ ...base, syscalls: [rule([arg(0, 1n), arg(1, 2n)])] }, true).source.rules;
  expect(one).toHaveLength(1);
  expect(one[0]?.args).toHaveLength(2);
  expect(translateSeccomp({ ...base, syscalls: [rule([arg(0, 1n), arg(0, 2n)])] }, true).source.rules).toHaveLength(2);
});

test('what is not known is refused', () => {
  expect(() => translateSeccomp({ ...base, defaultAction: 'SCMP_ACT_NOTIFY' }, true)).toThrow(SeccompError);
  expect(() => translateSeccomp({ ...base, flags: ['X'] }, true)).toThrow('flag X');
  const bad = {
    names: ['x'],
    action: 'SCMP_ACT_ALLOW',
    args: [{ index: 6, value: 0n, valueTwo: 0n, op: 'SCMP_CMP_EQ' }],
  };
  expect(() => translateSeccomp({ ...base, syscalls: [bad] }, true)).toThrow('index 6');
  expect(
    translateSeccomp({ ...base, flags: ['SECCOMP_FILTER_FLAG_LOG', 'SECCOMP_FILTER_FLAG_SPEC_ALLOW'] }, true).flags,
  ).toBe(6);
});
