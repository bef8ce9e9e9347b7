/**
 * Owns where a sandbox's programs are charged on the host, and by how much they are limited there. Pure but for the
 * interface, which others implement. The limits of containers hold in the guest; those here hold its machine, with room
 * enough that the guest runs out first.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { SpecResources } from '../oci/spec.ts';
import type { Caller } from './config.ts';
import type { MachineSize, SandboxLimits } from './machine-size.ts';

/** The group of one sandbox. */
export interface HostGroup {
  /** Moves keeper and shim in, once for each keeper: a second call changes nothing. */
  enter(request: GroupRequest): Promise<void>;
  limit(limits: HostLimits): Promise<void>;
}

/** Which group, and what it may use. */
export interface GroupRequest {
  /** Below the root of each hierarchy. */
  readonly path: string;
  /** The groups above are tskata's own. */
  readonly ownParents: boolean;
  readonly limits: HostLimits;
}

/** What is absent is left as it is. */
export interface HostLimits {
  readonly memoryBytes?: number;
  readonly cpuShares?: number;
  /** Microseconds of each 100 ms; -1 for no limit. */
  readonly cpuQuotaUs?: number;
  readonly pids?: number;
  /** CPUs and memory nodes of the host; "inherit" for all that the parent has. */
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly throttles?: readonly HostThrottle[];
}

/** Limit of a block device of the host, per second. */
interface HostThrottle {
  readonly kind: 'rbps' | 'wbps' | 'riops' | 'wiops';
  readonly major: number;
  readonly minor: number;
  readonly rate: number;
}

/** What the configuration says of groups. */
export interface GroupPolicy {
  readonly enabled: boolean;
  /** Where groups lie that no orchestrator gave a path. */
  readonly parent: string;
  /** Host memory beside the guest's own. */
  readonly overheadMemoryMib: number;
  /** Thousandths of a CPU for devices and copying. */
  readonly overheadCpuMillis: number;
}

const MIB = 1024 * 1024;
const PERIOD_US = 100_000;
/** Threads of QEMU, virtiofsd, the user network and Node are some hundred: this stops what has gone mad. */
const MAX_PIDS = 4096;
const INHERIT = 'inherit';
/** Where systemd puts what nobody placed. */
const DEFAULT_SLICE = 'system.slice';
const MAX_PATH = 2048;

/** A sandbox without a group of its own. */
export const noHostGroup: HostGroup = { enter: () => Promise.resolve(), limit: () => Promise.resolve() };

/** Whose path is wanted. */
export interface GroupSubject {
  readonly namespace: string;
  readonly id: string;
  readonly caller: Caller;
  /** linux.cgroupsPath of the sandbox's first container. */
  readonly cgroupsPath: string | undefined;
}

/**
 * The path of a sandbox's group: the one that the orchestrator gave, in cgroupfs form or in systemd's
 * ("slice:prefix:name"), or one below our own parent. A bundle of somebody's that `tskata run` was given has no say.
 */
export function groupPath(subject: GroupSubject, parent: string): { path: string; ownParents: boolean } {
  const { namespace, id, caller, cgroupsPath = '' } = subject;
  if (caller === 'command') return { path: `${parent}/${id}`, ownParents: true };
  const systemd = /^([^/:]*):([^/:]*):([^/:]+)$/.exec(cgroupsPath);
  const path = systemd === null ? cgroupsPath : systemdPath(systemd[1] ?? '', systemd[2] ?? '', systemd[3] ?? '');
  // A relative path would be relative to whoever calls the runtime, which means nothing here.
  if (!path.startsWith('/')) return { path: `${parent}/${namespace}-${id}`, ownParents: true };
  const plain = path.split('/').filter((name) => name !== '');
  if (plain.length === 0 || path.length > MAX_PATH || plain.some((name) => !isPlain(name))) {
    throw refused(cgroupsPath, 'is not a path of plain names below the root');
  }
  return { path: `/${plain.join('/')}`, ownParents: false };
}

/** "a-b.slice", "cri", "x" as /a.slice/a-b.slice/cri-x.scope (systemd.slice(5)). */
function systemdPath(slice: string, prefix: string, name: string): string {
  const unit = name.endsWith('.slice') ? name : `${prefix === '' ? '' : `${prefix}-`}${name}.scope`;
  return `${slicePath(slice === '' ? DEFAULT_SLICE : slice)}/${unit}`;
}

function slicePath(slice: string): string {
  if (slice === '-.slice') return '';
  const name = slice.replace(/\.slice$/, '');
  const parts = name.split('-');
  if (name === slice || parts.includes('')) throw refused(slice, "is not a slice's name");
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join('-')}.slice`).join('');
}

/** What a name in a hierarchy can be; those with this prefix are the kernel's files. */
function isPlain(name: string): boolean {
  return /^[^\s\0:]{1,255}$/.test(name) && name !== '.' && name !== '..' && !name.startsWith('cgroup.');
}

/** What the group of a sandbox may use. */
export interface LimitInput {
  readonly limits: SandboxLimits;
  readonly size: MachineSize;
  readonly policy: GroupPolicy;
  /** Of every container but a pod's pause, as they are now. */
  readonly containers: readonly SpecResources[];
  /** One container and its machine: the limit of CPU time is exactly the container's. In a pod some containers have none. */
  readonly single: boolean;
}

/**
 * Limits for a machine of this size. Memory is the guest's whole memory and the overhead, never less: the kernel of the
 * guest ends a container before the host's ends QEMU.
 */
export function hostLimits(input: LimitInput): HostLimits {
  const { limits, size, policy, containers, single } = input;
  const { memoryBytes, cpus, cpuShares } = limits;
  const memoryMib = size.memoryMib + policy.overheadMemoryMib;
  const millis = Math.round((single ? (cpus ?? 0) : size.vcpus) * 1000) + policy.overheadCpuMillis;
  return {
    pids: MAX_PIDS,
    ...(memoryBytes === undefined ? {} : { memoryBytes: memoryMib * MIB }),
    ...(cpus === undefined ? {} : { cpuQuotaUs: Math.round((millis * PERIOD_US) / 1000) }),
    ...(cpuShares === undefined ? {} : { cpuShares }),
    ...placement(containers),
  };
}

/** Whether a container names parts of the host, by which only the host's group can limit it. */
export function namesHostParts(resources: SpecResources): boolean {
  const { cpusetCpus = INHERIT, cpusetMems = INHERIT, throttles = [] } = placement([resources]);
  return cpusetCpus !== INHERIT || cpusetMems !== INHERIT || throttles.length > 0;
}

/** Numbers of CPUs, memory nodes and devices are those of the host: they mean nothing in the guest. */
function placement(containers: readonly SpecResources[]): HostLimits {
  if (containers.length === 0) return {};
  const union = (lists: readonly (string | undefined)[]): string =>
    lists.some((list) => list === undefined || list === '') ? INHERIT : [...new Set(lists)].join(',');
  return {
    cpusetCpus: union(containers.map(({ cpu }) => cpu?.cpus)),
    cpusetMems: union(containers.map(({ cpu }) => cpu?.mems)),
    throttles: containers.flatMap(throttlesOf),
  };
}

function throttlesOf({ blockIO = {} }: SpecResources): HostThrottle[] {
  const kinds = [
    ['rbps', blockIO.throttleReadBpsDevice],
    ['wbps', blockIO.throttleWriteBpsDevice],
    ['riops', blockIO.throttleReadIOPSDevice],
    ['wiops', blockIO.throttleWriteIOPSDevice],
  ] as const;
  return kinds.flatMap(([kind, devices = []]) =>
    devices.map(({ major, minor, rate }) => ({ kind, major, minor, rate })),
  );
}

function refused(path: string, why: string): TskataError {
  return new TskataError(Code.InvalidArgument, `linux.cgroupsPath: ${JSON.stringify(path)} ${why}`);
}
