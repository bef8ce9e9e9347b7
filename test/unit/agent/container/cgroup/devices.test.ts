/** The device policy, checked by running the program that is made of it. */
import { expect, test } from 'vitest';
import { deviceProgram, parseOwnDevices } from '../../../../../agent/container/cgroup/device-program.ts';
import {
  ACCESS,
  accessBits,
  type DeviceException,
  devicePolicy,
} from '../../../../../agent/container/cgroup/device-rules.ts';
import { DeviceRule } from '../../../../../agent/protocol/generated/agent.ts';
import type { Init } from '../../../../../agent/protocol/message.ts';

/** The instructions that the program is made of, on the context of a device access. */
function runProgram(code: Uint8Array, context: readonly number[]): number {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  const registers = new Array<number>(11).fill(0);
  const get = (register: number): number => registers[register] ?? 0;
  for (let at = 0, steps = 0; steps < 10_000; steps += 1) {
    const opcode = view.getUint8(at);
    const to = view.getUint8(at + 1) & 15;
    const from = view.getUint8(at + 1) >> 4;
    const offset = view.getInt16(at + 2, true);
    const value = view.getInt32(at + 4, true);
    at += 8;
    if (opcode === 0x61) registers[to] = context[offset / 4] ?? 0;
    else if (opcode === 0xbf) registers[to] = get(from);
    else if (opcode === 0xb7) registers[to] = value;
    else if (opcode === 0x54) registers[to] = (get(to) & value) >>> 0;
    else if (opcode === 0x74) registers[to] = get(to) >>> value;
    else if (opcode === 0x16) at += get(to) === value >>> 0 ? offset * 8 : 0;
    else if (opcode === 0x56) at += get(to) !== value >>> 0 ? offset * 8 : 0;
    else if (opcode === 0x95) return get(0);
    else throw new Error(`opcode 0x${opcode.toString(16)}`);
  }
  throw new Error('the program does not end');
}

interface Wanted {
  readonly rules?: readonly Init<DeviceRule>[];
  readonly devices?: readonly { type: string; major: number; minor: number }[];
  readonly forbidden?: readonly DeviceException[];
}

function allows(
  { rules = [], devices = [], forbidden = [] }: Wanted,
  type: 'b' | 'c',
  major: number,
  minor: number,
  access: string,
): boolean {
  const policy = devicePolicy(
    rules.map((rule) => DeviceRule.create(rule)),
    devices,
  );
  const { code } = deviceProgram(policy, forbidden);
  return runProgram(code, [(accessBits(access) << 16) | (type === 'b' ? 1 : 2), major, minor]) === 1;
}

test('the defaults: every mknod, the default nodes, terminals', () => {
  expect(allows({}, 'c', 1, 3, 'rwm')).toBe(true);
  expect(allows({}, 'c', 136, 7, 'rw')).toBe(true);
  expect(allows({}, 'c', 5, 2, 'rw')).toBe(true);
  expect(allows({}, 'b', 254, 0, 'm')).toBe(true);
  expect(allows({}, 'b', 254, 0, 'r')).toBe(false);
  expect(allows({}, 'b', 254, 0, 'rm')).toBe(false);
  expect(allows({}, 'c', 1, 1, 'r')).toBe(false);
  expect(allows({}, 'b', 1, 3, 'r')).toBe(false);
  expect(allows({}, 'c', 10, 200, 'rw')).toBe(false);
});

test('rules of the spec, devices of the spec', () => {
  const deny = { allow: false, type: 'a', major: -1n, minor: -1n, access: 'rwm' };
  const rules = [
    deny,
    { allow: true, type: 'c', major: 10n, minor: 229n, access: 'rw' },
    { allow: true, type: 'b', major: 8n, minor: -1n, access: 'r' },
  ];
  expect(allows({ rules }, 'c', 10, 229, 'rw')).toBe(true);
  expect(allows({ rules }, 'c', 10, 229, 'rwm')).toBe(false);
  expect(allows({ rules }, 'b', 8, 5, 'r')).toBe(true);
  expect(allows({ rules }, 'b', 8, 5, 'rw')).toBe(false);
  expect(allows({ rules, devices: [{ type: 'c', major: 4, minor: 5 }] }, 'c', 4, 5, 'rwm')).toBe(true);
});

test('rights are added and taken away', () => {
  const rule = (allow: boolean, access: string) => ({ allow, type: 'c', major: 4n, minor: 4n, access });
  expect(allows({ rules: [rule(true, 'r'), rule(true, 'w')] }, 'c', 4, 4, 'rw')).toBe(true);
  expect(allows({ rules: [rule(true, 'rw'), rule(false, 'w')] }, 'c', 4, 4, 'rw')).toBe(false);
  expect(allows({ rules: [rule(true, 'rw'), rule(false, 'w')] }, 'c', 4, 4, 'r')).toBe(true);
});

test('everything allowed, with exceptions, and what is never allowed', () => {
  const all = { allow: true, type: 'a', major: -1n, minor: -1n, access: 'rwm' };
  const rules = [all, { allow: false, type: 'b', major: 8n, minor: 0n, access: 'w' }];
  expect(allows({ rules }, 'c', 99, 99, 'rwm')).toBe(true);
  expect(allows({ rules }, 'b', 8, 0, 'r')).toBe(true);
  expect(allows({ rules }, 'b', 8, 0, 'rw')).toBe(false);
  const forbidden: DeviceException[] = [{ type: 'b', major: 254, minor: -1, access: ACCESS.read | ACCESS.write }];
  expect(allows({ rules: [all], forbidden }, 'b', 254, 3, 'r')).toBe(false);
  expect(allows({ rules: [all], forbidden }, 'b', 254, 3, 'm')).toBe(true);
  expect(allows({ rules: [all], forbidden }, 'c', 254, 3, 'r')).toBe(true);
});

test("the agent's own drivers are found by name, in their section", () => {
  const text =
    'Character devices:\n  1 mem\n  5 /dev/tty\n229 hvc\n249 virtio-portsdev\n\nBlock devices:\n  7 loop\n254 virtblk\n229 hvc\n';
  expect(parseOwnDevices(text).map(({ type, major }) => `${type}${major}`)).toEqual(['c229', 'c249', 'b7', 'b254']);
});
