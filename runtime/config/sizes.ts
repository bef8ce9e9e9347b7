/** From the configuration and the host's own size to what sandboxes go by. Pure. */
import type { GroupPolicy } from '../sandbox/host-group.ts';
import type { SizePolicy } from '../sandbox/machine-size.ts';
import type { Config } from './schema.ts';

const MIB = 1024 * 1024;
/** Of the host's memory, what no machine gets: without it the host's kernel would end QEMU first. */
const HOST_SHARE = 16;
/** QEMU's profiles were tried up to this. */
const MOST_VCPUS = 64;

/** What the host has. */
export interface HostSize {
  readonly memoryBytes: number;
  readonly cpus: number;
}

/** Bounds that the file names are kept; others, and defaults, are brought into what the host can hold. */
export function sizePolicy(config: Config, host: HostSize): SizePolicy {
  const { machine } = config;
  const hostMib = Math.floor(host.memoryBytes / MIB);
  const maxMemoryMib = Math.min(hostMib, machine.max_memory_mib ?? hostMib - Math.floor(hostMib / HOST_SHARE));
  const maxVcpus = Math.min(machine.max_vcpus ?? Math.max(1, host.cpus), MOST_VCPUS);
  return {
    defaultMemoryMib: Math.min(machine.default_memory_mib, maxMemoryMib),
    minMemoryMib: machine.min_memory_mib,
    maxMemoryMib,
    defaultVcpus: Math.min(machine.default_vcpus, maxVcpus),
    maxVcpus,
    guestOverheadMib: machine.guest_overhead_mib,
  };
}

/** The host's group of a sandbox. */
export function groupPolicy({ cgroup }: Config): GroupPolicy {
  return {
    enabled: cgroup.enabled,
    parent: cgroup.parent,
    overheadMemoryMib: cgroup.overhead_memory_mib,
    overheadCpuMillis: cgroup.overhead_cpu_millis,
  };
}
