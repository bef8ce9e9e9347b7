/**
 * Owns how large a machine is made: by CRI's annotations for a pod, by the container's limits otherwise, within what the
 * administrator and the host allow. Pure. Refuses to know the machine.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { SANDBOX_MEMORY, SANDBOX_VCPUS } from '../oci/annotations.ts';
import { podRole } from '../oci/pod.ts';
import type { Spec } from '../oci/spec.ts';
import type { SandboxOptions } from './config.ts';

/** The machine's size. */
export interface MachineSize {
  readonly memoryMib: number;
  readonly vcpus: number;
}

/** What sizes there may be. */
export interface SizePolicy {
  /** Also the least that a machine gets without having asked for less by annotation. */
  readonly defaultMemoryMib: number;
  readonly minMemoryMib: number;
  readonly maxMemoryMib: number;
  readonly defaultVcpus: number;
  readonly maxVcpus: number;
  /** Guest kernel, agent and page tables, on top of what containers may use. */
  readonly guestOverheadMib: number;
}

/** Memory and CPU that the containers of a sandbox may use together; absent: as much as there is. */
export interface SandboxLimits {
  readonly memoryBytes?: number;
  /** CPUs, fractions allowed. */
  readonly cpus?: number;
  /** Weight among the host's groups, in shares of cgroup v1. */
  readonly cpuShares?: number;
}

const MIB = 1024 * 1024;
/** What people write for "no limit" is at least this. */
const UNLIMITED_BYTES = 2 ** 50;
const DEFAULT_PERIOD_US = 100_000;
/** containerd's CRI plugin, since 1.6. It sums the limits of those containers of the pod that have one. */
const CRI = 'io.kubernetes.cri.sandbox-';

/** Whether this is the container that stands for a pod. */
export function isPod(spec: Spec): boolean {
  return podRole(spec.annotations) === 'sandbox';
}

/** The limits of the whole sandbox: CRI's where it says something, else those of the one container. */
export function sandboxLimits(spec: Spec): SandboxLimits {
  const annotations = spec.annotations ?? {};
  const { memory = {}, cpu = {} } = spec.linux?.resources ?? {};
  const fromCri = (name: string): number => criNumber(annotations, name);
  const pod = isPod(spec);
  const memoryBytes = pod ? fromCri('memory') : (memory.limit ?? 0);
  const quota = pod ? fromCri('cpu-quota') : (cpu.quota ?? 0);
  const period = (pod ? fromCri('cpu-period') : (cpu.period ?? 0)) || DEFAULT_PERIOD_US;
  const shares = pod ? fromCri('cpu-shares') : (cpu.shares ?? 0);
  return {
    ...(memoryBytes > 0 && memoryBytes < UNLIMITED_BYTES ? { memoryBytes } : {}),
    ...(quota > 0 ? { cpus: quota / period } : {}),
    ...(shares > 0 ? { cpuShares: shares } : {}),
  };
}

/**
 * The size of a machine. Derived sizes are brought into range; one that an annotation asks for and that is out of range
 * is refused, because whoever wrote it counts on it.
 */
export function machineSize(limits: SandboxLimits, options: SandboxOptions, policy: SizePolicy): MachineSize {
  const { memoryBytes = 0, cpus = 0 } = limits;
  // A limit on CPU alone keeps the memory.
  const wanted = memoryBytes === 0 ? 0 : Math.ceil(memoryBytes / MIB) + policy.guestOverheadMib;
  const derivedMib = Math.min(policy.maxMemoryMib, Math.max(policy.defaultMemoryMib, policy.minMemoryMib, wanted));
  const derivedVcpus = Math.min(policy.maxVcpus, Math.max(policy.defaultVcpus, Math.ceil(cpus)));
  return {
    memoryMib: within(SANDBOX_MEMORY, options.memoryMib, policy.minMemoryMib, policy.maxMemoryMib) ?? derivedMib,
    vcpus: within(SANDBOX_VCPUS, options.vcpus, 1, policy.maxVcpus) ?? derivedVcpus,
  };
}

function criNumber(annotations: Readonly<Record<string, string>>, name: string): number {
  const text = annotations[`${CRI}${name}`] ?? '0';
  // -1 is "no quota".
  const value = /^-?[0-9]{1,19}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value)) throw refused(`${CRI}${name}`, `'${text}' is not a number`);
  return value;
}

function within(name: string, value: number | undefined, least: number, most: number): number | undefined {
  if (value === undefined || (value >= least && value <= most)) return value;
  throw refused(name, `${value}, but this host allows ${least} to ${most}; ask for ${value > most ? 'less' : 'more'}`);
}

function refused(name: string, why: string): TskataError {
  return new TskataError(Code.InvalidArgument, `annotations['${name}']: ${why}`);
}
