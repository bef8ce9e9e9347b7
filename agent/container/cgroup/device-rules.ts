/**
 * Owns what a list of device rules means: cgroup v1's semantics (a default, and exceptions to it), computed as runc
 * emulates them, before an eBPF program is made of the result. Knows no BPF.
 */
import type { DeviceRule } from '../../protocol/generated/agent.ts';

/** Bits as the kernel's device programs see them (BPF_DEVCG_ACC_*). */
export const ACCESS = { mknod: 1, read: 2, write: 4 } as const;
const ALL_ACCESS = ACCESS.mknod | ACCESS.read | ACCESS.write;

/** A device, or several of them. */
export interface DeviceException {
  readonly type: 'b' | 'c';
  /** -1: any. */
  readonly major: number;
  readonly minor: number;
  readonly access: number;
}

/** A policy: what is not an exception is allowed or denied. */
export interface DevicePolicy {
  readonly allowByDefault: boolean;
  readonly exceptions: readonly DeviceException[];
}

interface Rule {
  readonly allow: boolean;
  readonly type: 'a' | 'b' | 'c';
  readonly major: number;
  readonly minor: number;
  readonly access: number;
}

const allow = (type: 'b' | 'c', major: number, minor: number, access: number): Rule => ({
  allow: true,
  type,
  major,
  minor,
  access,
});

/** What every container may use: any mknod, the default devices, its own terminals. */
const DEFAULTS: readonly Rule[] = [
  allow('c', -1, -1, ACCESS.mknod),
  allow('b', -1, -1, ACCESS.mknod),
  allow('c', 1, 3, ALL_ACCESS),
  allow('c', 1, 5, ALL_ACCESS),
  allow('c', 1, 7, ALL_ACCESS),
  allow('c', 1, 8, ALL_ACCESS),
  allow('c', 1, 9, ALL_ACCESS),
  allow('c', 5, 0, ALL_ACCESS),
  allow('c', 5, 2, ALL_ACCESS),
  allow('c', 136, -1, ALL_ACCESS),
];

/** Bits of "rwm". */
export function accessBits(access: string): number {
  let bits = 0;
  if (access.includes('r')) bits |= ACCESS.read;
  if (access.includes('w')) bits |= ACCESS.write;
  if (access.includes('m')) bits |= ACCESS.mknod;
  return bits;
}

function ruleOf(rule: DeviceRule): Rule {
  return {
    allow: rule.allow,
    type: rule.type === 'b' || rule.type === 'c' ? rule.type : 'a',
    major: Number(rule.major),
    minor: Number(rule.minor),
    access: rule.access === '' ? ALL_ACCESS : accessBits(rule.access),
  };
}

/** Rules of the spec in order, then the defaults; `devices` are nodes that the spec creates, which are allowed too. */
export function devicePolicy(
  rules: readonly DeviceRule[],
  devices: readonly { readonly type: string; readonly major: number; readonly minor: number }[],
): DevicePolicy {
  const state = { allowByDefault: false, exceptions: new Map<string, DeviceException>() };
  for (const rule of rules) apply(state, ruleOf(rule));
  // An "allow everything" stays what it is: adding to it would only remove denials that somebody asked for.
  if (!state.allowByDefault) {
    for (const rule of DEFAULTS) apply(state, rule);
    for (const { type, major, minor } of devices) {
      if (type === 'b' || type === 'c') apply(state, allow(type, major, minor, ALL_ACCESS));
    }
  }
  return { allowByDefault: state.allowByDefault, exceptions: [...state.exceptions.values()] };
}

function apply(state: { allowByDefault: boolean; exceptions: Map<string, DeviceException> }, rule: Rule): void {
  if (rule.type === 'a') {
    // "a" is about everything, whatever else it says, and starts anew (Linux, devices.rst of cgroup v1).
    state.allowByDefault = rule.allow;
    state.exceptions.clear();
    return;
  }
  const key = `${rule.type} ${rule.major}:${rule.minor}`;
  const before = state.exceptions.get(key)?.access ?? 0;
  const adds = rule.allow !== state.allowByDefault;
  const access = adds ? before | rule.access : before & ~rule.access;
  if (access === 0) state.exceptions.delete(key);
  else state.exceptions.set(key, { type: rule.type, major: rule.major, minor: rule.minor, access });
}
