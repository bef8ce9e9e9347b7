/**
 * Owns the eBPF program that decides whether a process of a container may make or open a device node. It makes a
 * program of a policy; the policy is `device-rules.ts`.
 */
import { BPF_ATTACH, BPF_PROGRAM, BpfAssembler, type BpfProgram } from '../../sys/bpf.ts';
import { readFile } from '../../sys/calls.ts';
import type { Sys } from '../../sys/sys.ts';
import { ACCESS, type DeviceException, type DevicePolicy } from './device-rules.ts';

/** BPF_DEVCG_DEV_* */
const TYPE = { b: 1, c: 2 } as const;
const ALL_ACCESS = ACCESS.mknod | ACCESS.read | ACCESS.write;

/** Registers. */
const RESULT = 0;
const CONTEXT = 1;
const KIND = 2;
const WANTED = 3;
const MAJOR = 4;
const MINOR = 5;

/** Drivers whose devices are the agent's: its ports and console, and every disk. A container has files, not disks. */
const OWN_DRIVERS: ReadonlyMap<string, 'b' | 'c'> = new Map([
  ['virtio-portsdev', 'c'],
  ['hvc', 'c'],
  ['virtblk', 'b'],
  ['device-mapper', 'b'],
  ['loop', 'b'],
]);

/** Devices that no container may open, whatever its rules say: majors of the agent's own drivers (/proc/devices). */
export function ownDevices(sys: Sys): readonly DeviceException[] {
  return parseOwnDevices(readFile(sys, '/proc/devices'));
}

/** From the text of /proc/devices. A driver may have several majors. */
export function parseOwnDevices(text: string): readonly DeviceException[] {
  const devices: DeviceException[] = [];
  let section: 'b' | 'c' = 'c';
  for (const line of text.split('\n')) {
    if (line.startsWith('Character')) section = 'c';
    if (line.startsWith('Block')) section = 'b';
    const match = /^ *([0-9]+) (.+)$/.exec(line);
    if (match === null || OWN_DRIVERS.get(match[2] ?? '') !== section) continue;
    devices.push({ type: section, major: Number(match[1]), minor: -1, access: ACCESS.read | ACCESS.write });
  }
  return devices;
}

/** The program. `forbidden` comes first: nothing in the policy allows it. */
export function deviceProgram(policy: DevicePolicy, forbidden: readonly DeviceException[]): BpfProgram {
  const code = new BpfAssembler();
  // struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor
  code.load32(KIND, CONTEXT, 0).move(WANTED, KIND).shiftRight32Immediate(WANTED, 16).and32Immediate(KIND, 0xffff);
  code.load32(MAJOR, CONTEXT, 4).load32(MINOR, CONTEXT, 8);
  for (const exception of forbidden) addException(code, exception, false);
  for (const exception of policy.exceptions) addException(code, exception, !policy.allowByDefault);
  code.exit(policy.allowByDefault ? 1 : 0);
  return {
    name: 'devices',
    programType: BPF_PROGRAM.CGROUP_DEVICE,
    attachType: BPF_ATTACH.DEVICE,
    code: code.assemble(),
  };
}

/** An allowing exception must cover all that is wanted; a denying one needs to cover any of it. */
function addException(code: BpfAssembler, exception: DeviceException, allows: boolean): void {
  const next = code.label();
  code.jumpIfNotEqual(KIND, TYPE[exception.type], next);
  if (exception.major >= 0) code.jumpIfNotEqual(MAJOR, exception.major, next);
  if (exception.minor >= 0) code.jumpIfNotEqual(MINOR, exception.minor, next);
  code.move(RESULT, WANTED);
  if (allows) {
    code
      .and32Immediate(RESULT, ALL_ACCESS & ~exception.access)
      .jumpIfNotEqual(RESULT, 0, next)
      .exit(1);
  } else {
    code.and32Immediate(RESULT, exception.access).jumpIfEqual(RESULT, 0, next).exit(0);
  }
  code.place(next);
}
