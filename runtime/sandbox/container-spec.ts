/**
 * Owns the translation of an OCI configuration into what the agent is told: field by field, from typed values, so that
 * nothing reaches the guest that is not named here. Refuses to know storage: mounts come planned.
 */

import type {
  ContainerSpec,
  Device,
  GuestFile,
  IdMapping,
  Mount,
  Process,
  Seccomp,
} from '../../agent/protocol/generated/agent.ts';
import type { Init } from '../../agent/protocol/message.ts';
import { ioPriorityNumbers, personalityNumber, schedulerNumbers } from '../oci/scheduling.ts';
import type { Spec, SpecCapabilities, SpecDevice, SpecProcess, SpecSeccomp } from '../oci/spec.ts';
import type { ContainerNamespaces } from './namespaces.ts';
import { resourcesMessage } from './resources.ts';
import { int64, uint64 } from './wide-int.ts';

/** Default of a mknod without a mode: rw-rw-rw- as runc has it. */
const DEFAULT_DEVICE_MODE = 0o666;

/** What the configuration does not say. */
export interface SpecParts {
  readonly namespaces: ContainerNamespaces;
  readonly mounts: readonly Init<Mount>[];
  readonly files: readonly Init<GuestFile>[];
}

/** Builds the message. The configuration has been validated before. */
export function containerSpecMessage(spec: Spec, parts: SpecParts): Init<ContainerSpec> {
  const linux = spec.linux ?? {};
  return {
    process: spec.process === undefined ? undefined : processMessage(spec.process, personalityNumber(spec)),
    rootReadonly: spec.root?.readonly ?? false,
    hostname: spec.hostname ?? '',
    domainname: spec.domainname ?? '',
    mounts: parts.mounts,
    files: parts.files,
    namespaces: parts.namespaces.own,
    pidNamespaceOf: parts.namespaces.pidNamespaceOf,
    uidMappings: (linux.uidMappings ?? []).map(idMapping),
    gidMappings: (linux.gidMappings ?? []).map(idMapping),
    devices: (linux.devices ?? []).map(device),
    resources: resourcesMessage(linux.resources ?? {}),
    seccomp: linux.seccomp === undefined ? undefined : seccomp(linux.seccomp),
    maskedPaths: linux.maskedPaths ?? [],
    readonlyPaths: linux.readonlyPaths ?? [],
    sysctls: new Map(Object.entries(linux.sysctl ?? {})),
    rootfsPropagation: linux.rootfsPropagation ?? '',
  };
}

/** Builds a process message, for an init as for an exec; the personality is the container's. */
export function processMessage(process: SpecProcess, personality: number): Init<Process> {
  const { user, scheduler, ioPriority } = process;
  return {
    terminal: process.terminal ?? false,
    rows: process.consoleSize?.height ?? 0,
    columns: process.consoleSize?.width ?? 0,
    user: {
      uid: user.uid,
      gid: user.gid,
      additionalGids: user.additionalGids ?? [],
      umask: user.umask,
      username: user.username ?? '',
    },
    args: process.args ?? [],
    env: process.env ?? [],
    cwd: process.cwd,
    capabilities: process.capabilities === undefined ? undefined : capabilities(process.capabilities),
    rlimits: (process.rlimits ?? []).map(({ type, soft, hard }) => ({ type, soft: uint64(soft), hard: uint64(hard) })),
    noNewPrivileges: process.noNewPrivileges ?? false,
    oomScoreAdj: process.oomScoreAdj,
    scheduler: scheduler === undefined ? undefined : schedulerNumbers(scheduler),
    ioPriority: ioPriority === undefined ? undefined : ioPriorityNumbers(ioPriority),
    personality,
  };
}

function capabilities(sets: SpecCapabilities): Init<Process>['capabilities'] {
  return {
    bounding: sets.bounding ?? [],
    effective: sets.effective ?? [],
    inheritable: sets.inheritable ?? [],
    permitted: sets.permitted ?? [],
    ambient: sets.ambient ?? [],
  };
}

function idMapping(mapping: { containerID: number; hostID: number; size: number }): Init<IdMapping> {
  return { containerId: mapping.containerID, hostId: mapping.hostID, size: mapping.size };
}

function device(source: SpecDevice): Init<Device> {
  return {
    type: source.type,
    path: source.path,
    // Absent for a FIFO only.
    major: int64(source.major ?? 0),
    minor: int64(source.minor ?? 0),
    fileMode: source.fileMode ?? DEFAULT_DEVICE_MODE,
    uid: source.uid ?? 0,
    gid: source.gid ?? 0,
  };
}

function seccomp(source: SpecSeccomp): Init<Seccomp> {
  return {
    defaultAction: source.defaultAction,
    defaultErrno: source.defaultErrnoRet,
    architectures: source.architectures ?? [],
    flags: source.flags ?? [],
    syscalls: (source.syscalls ?? []).map((rule) => ({
      names: rule.names,
      action: rule.action,
      errno: rule.errnoRet,
      args: (rule.args ?? []).map((arg) => ({
        index: arg.index,
        value: uint64(arg.value),
        valueTwo: uint64(arg.valueTwo ?? 0),
        op: arg.op,
      })),
    })),
  };
}
