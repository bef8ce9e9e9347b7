/** What the container may do inside its machine: namespaces, capabilities, seccomp, masked paths, devices, sysctls. */
import { chooseCapabilities } from '../capabilities.ts';
import { defaultSeccomp } from '../default-seccomp.ts';
import type { SeccompRequest } from '../request.ts';
import type { SpecSeccomp } from '../spec.ts';
import { parseSeccomp } from '../validate.ts';
import type { Transform } from './transform.ts';

const MASKED: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];

const READ_ONLY: readonly string[] = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

function seccompOf(request: SeccompRequest, privileged: boolean, bounding: readonly string[]): SpecSeccomp | undefined {
  if (request.kind === 'file') return parseSeccomp(request.file, request.profile);
  if (request.kind === 'unconfined' || privileged) return undefined;
  return defaultSeccomp(bounding);
}

export const confine: Transform = (draft, request) => {
  const capabilities = chooseCapabilities(request.privileged, request.capAdd, request.capDrop);
  const seccomp = seccompOf(request.seccomp, request.privileged, capabilities);
  draft.process.capabilities = { bounding: capabilities, effective: capabilities, permitted: capabilities };
  draft.process.noNewPrivileges = request.noNewPrivileges;
  draft.linux = {
    ...draft.linux,
    // network is the sandbox's: the machine has one container and one network stack.
    namespaces: [{ type: 'pid' }, { type: 'ipc' }, { type: 'uts' }, { type: 'mount' }, { type: 'cgroup' }],
    sysctl: { ...request.sysctls },
    ...(seccomp ? { seccomp } : {}),
    maskedPaths: request.privileged ? [] : [...MASKED],
    readonlyPaths: request.privileged ? [] : [...READ_ONLY],
    resources: { devices: [{ allow: request.privileged, access: 'rwm' }] },
  };
};
