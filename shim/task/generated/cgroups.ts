// Generated from shim/task/proto/cgroups.proto by `npm run proto`. Do not edit.
import { field, message, repeated, type MessageType } from '../../../agent/protocol/message.ts';

export interface Metrics {
  readonly pids: PidsStat | undefined;
  readonly cpu: CPUStat | undefined;
  readonly memory: MemoryStat | undefined;
  readonly rdma: RdmaStat | undefined;
  readonly io: IOStat | undefined;
  readonly hugetlb: readonly HugeTlbStat[];
  readonly memoryEvents: MemoryEvents | undefined;
  readonly network: readonly NetworkStat[];
}

export const Metrics: MessageType<Metrics> = message('io.containerd.cgroups.v2.Metrics', () => [
  field(1, 'pids', PidsStat),
  field(2, 'cpu', CPUStat),
  field(4, 'memory', MemoryStat),
  field(5, 'rdma', RdmaStat),
  field(6, 'io', IOStat),
  repeated(7, 'hugetlb', HugeTlbStat),
  field(8, 'memoryEvents', MemoryEvents),
  repeated(9, 'network', NetworkStat),
]);

export interface PidsStat {
  readonly current: bigint;
  readonly limit: bigint;
}

export const PidsStat: MessageType<PidsStat> = message('io.containerd.cgroups.v2.PidsStat', () => [
  field(1, 'current', 'uint64'),
  field(2, 'limit', 'uint64'),
]);

export interface CPUStat {
  readonly usageUsec: bigint;
  readonly userUsec: bigint;
  readonly systemUsec: bigint;
  readonly nrPeriods: bigint;
  readonly nrThrottled: bigint;
  readonly throttledUsec: bigint;
}

export const CPUStat: MessageType<CPUStat> = message('io.containerd.cgroups.v2.CPUStat', () => [
  field(1, 'usageUsec', 'uint64'),
  field(2, 'userUsec', 'uint64'),
  field(3, 'systemUsec', 'uint64'),
  field(4, 'nrPeriods', 'uint64'),
  field(5, 'nrThrottled', 'uint64'),
  field(6, 'throttledUsec', 'uint64'),
]);

export interface MemoryStat {
  readonly anon: bigint;
  readonly file: bigint;
  readonly kernelStack: bigint;
  readonly slab: bigint;
  readonly sock: bigint;
  readonly shmem: bigint;
  readonly fileMapped: bigint;
  readonly fileDirty: bigint;
  readonly fileWriteback: bigint;
  readonly anonThp: bigint;
  readonly inactiveAnon: bigint;
  readonly activeAnon: bigint;
  readonly inactiveFile: bigint;
  readonly activeFile: bigint;
  readonly unevictable: bigint;
  readonly slabReclaimable: bigint;
  readonly slabUnreclaimable: bigint;
  readonly pgfault: bigint;
  readonly pgmajfault: bigint;
  readonly workingsetRefault: bigint;
  readonly workingsetActivate: bigint;
  readonly workingsetNodereclaim: bigint;
  readonly pgrefill: bigint;
  readonly pgscan: bigint;
  readonly pgsteal: bigint;
  readonly pgactivate: bigint;
  readonly pgdeactivate: bigint;
  readonly pglazyfree: bigint;
  readonly pglazyfreed: bigint;
  readonly thpFaultAlloc: bigint;
  readonly thpCollapseAlloc: bigint;
  readonly usage: bigint;
  readonly usageLimit: bigint;
  readonly swapUsage: bigint;
  readonly swapLimit: bigint;
  readonly maxUsage: bigint;
  readonly swapMaxUsage: bigint;
}

export const MemoryStat: MessageType<MemoryStat> = message('io.containerd.cgroups.v2.MemoryStat', () => [
  field(1, 'anon', 'uint64'),
  field(2, 'file', 'uint64'),
  field(3, 'kernelStack', 'uint64'),
  field(4, 'slab', 'uint64'),
  field(5, 'sock', 'uint64'),
  field(6, 'shmem', 'uint64'),
  field(7, 'fileMapped', 'uint64'),
  field(8, 'fileDirty', 'uint64'),
  field(9, 'fileWriteback', 'uint64'),
  field(10, 'anonThp', 'uint64'),
  field(11, 'inactiveAnon', 'uint64'),
  field(12, 'activeAnon', 'uint64'),
  field(13, 'inactiveFile', 'uint64'),
  field(14, 'activeFile', 'uint64'),
  field(15, 'unevictable', 'uint64'),
  field(16, 'slabReclaimable', 'uint64'),
  field(17, 'slabUnreclaimable', 'uint64'),
  field(18, 'pgfault', 'uint64'),
  field(19, 'pgmajfault', 'uint64'),
  field(20, 'workingsetRefault', 'uint64'),
  field(21, 'workingsetActivate', 'uint64'),
  field(22, 'workingsetNodereclaim', 'uint64'),
  field(23, 'pgrefill', 'uint64'),
  field(24, 'pgscan', 'uint64'),
  field(25, 'pgsteal', 'uint64'),
  field(26, 'pgactivate', 'uint64'),
  field(27, 'pgdeactivate', 'uint64'),
  field(28, 'pglazyfree', 'uint64'),
  field(29, 'pglazyfreed', 'uint64'),
  field(30, 'thpFaultAlloc', 'uint64'),
  field(31, 'thpCollapseAlloc', 'uint64'),
  field(32, 'usage', 'uint64'),
  field(33, 'usageLimit', 'uint64'),
  field(34, 'swapUsage', 'uint64'),
  field(35, 'swapLimit', 'uint64'),
  field(36, 'maxUsage', 'uint64'),
  field(37, 'swapMaxUsage', 'uint64'),
]);

export interface MemoryEvents {
  readonly low: bigint;
  readonly high: bigint;
  readonly max: bigint;
  readonly oom: bigint;
  readonly oomKill: bigint;
}

export const MemoryEvents: MessageType<MemoryEvents> = message('io.containerd.cgroups.v2.MemoryEvents', () => [
  field(1, 'low', 'uint64'),
  field(2, 'high', 'uint64'),
  field(3, 'max', 'uint64'),
  field(4, 'oom', 'uint64'),
  field(5, 'oomKill', 'uint64'),
]);

export interface RdmaStat {
  readonly current: readonly RdmaEntry[];
  readonly limit: readonly RdmaEntry[];
}

export const RdmaStat: MessageType<RdmaStat> = message('io.containerd.cgroups.v2.RdmaStat', () => [
  repeated(1, 'current', RdmaEntry),
  repeated(2, 'limit', RdmaEntry),
]);

export interface RdmaEntry {
  readonly device: string;
  readonly hcaHandles: number;
  readonly hcaObjects: number;
}

export const RdmaEntry: MessageType<RdmaEntry> = message('io.containerd.cgroups.v2.RdmaEntry', () => [
  field(1, 'device', 'string'),
  field(2, 'hcaHandles', 'uint32'),
  field(3, 'hcaObjects', 'uint32'),
]);

export interface IOStat {
  readonly usage: readonly IOEntry[];
}

export const IOStat: MessageType<IOStat> = message('io.containerd.cgroups.v2.IOStat', () => [
  repeated(1, 'usage', IOEntry),
]);

export interface IOEntry {
  readonly major: bigint;
  readonly minor: bigint;
  readonly rbytes: bigint;
  readonly wbytes: bigint;
  readonly rios: bigint;
  readonly wios: bigint;
}

export const IOEntry: MessageType<IOEntry> = message('io.containerd.cgroups.v2.IOEntry', () => [
  field(1, 'major', 'uint64'),
  field(2, 'minor', 'uint64'),
  field(3, 'rbytes', 'uint64'),
  field(4, 'wbytes', 'uint64'),
  field(5, 'rios', 'uint64'),
  field(6, 'wios', 'uint64'),
]);

export interface HugeTlbStat {
  readonly current: bigint;
  readonly max: bigint;
  readonly pagesize: string;
}

export const HugeTlbStat: MessageType<HugeTlbStat> = message('io.containerd.cgroups.v2.HugeTlbStat', () => [
  field(1, 'current', 'uint64'),
  field(2, 'max', 'uint64'),
  field(3, 'pagesize', 'string'),
]);

export interface NetworkStat {
  readonly name: string;
  readonly rxBytes: bigint;
  readonly rxPackets: bigint;
  readonly rxErrors: bigint;
  readonly rxDropped: bigint;
  readonly txBytes: bigint;
  readonly txPackets: bigint;
  readonly txErrors: bigint;
  readonly txDropped: bigint;
}

export const NetworkStat: MessageType<NetworkStat> = message('io.containerd.cgroups.v2.NetworkStat', () => [
  field(1, 'name', 'string'),
  field(2, 'rxBytes', 'uint64'),
  field(3, 'rxPackets', 'uint64'),
  field(4, 'rxErrors', 'uint64'),
  field(5, 'rxDropped', 'uint64'),
  field(6, 'txBytes', 'uint64'),
  field(7, 'txPackets', 'uint64'),
  field(8, 'txErrors', 'uint64'),
  field(9, 'txDropped', 'uint64'),
]);
