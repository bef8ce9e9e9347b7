/**
 * Owns the translation of a container's counters into containerd's cgroup v2 metrics. Counters come from the guest:
 * they are numbers and nothing else.
 */
import type { MemoryStats, StatsResponse } from '../../agent/protocol/generated/agent.ts';
import type { Init } from '../../agent/protocol/message.ts';
import type { MemoryStat, Metrics } from './generated/cgroups.ts';

export function metrics(stats: StatsResponse): Init<Metrics> {
  const { cpu, memory, io, interfaces, hugetlb } = stats;
  return {
    pids: { current: stats.pidsCurrent, limit: stats.pidsLimit },
    cpu,
    memory: memory === undefined ? undefined : memoryStat(memory),
    io: { usage: io },
    hugetlb: hugetlb.map(({ pageSize, current, max }) => ({ pagesize: pageSize, current, max })),
    memoryEvents: memory === undefined ? undefined : memoryEvents(memory),
    network: interfaces,
  };
}

function memoryStat(memory: MemoryStats): Init<MemoryStat> {
  const stat = (name: string): bigint => memory.stat.get(name) ?? 0n;
  return {
    anon: stat('anon'),
    file: stat('file'),
    kernelStack: stat('kernel_stack'),
    slab: stat('slab'),
    sock: stat('sock'),
    shmem: stat('shmem'),
    fileMapped: stat('file_mapped'),
    fileDirty: stat('file_dirty'),
    fileWriteback: stat('file_writeback'),
    anonThp: stat('anon_thp'),
    inactiveAnon: stat('inactive_anon'),
    activeAnon: stat('active_anon'),
    inactiveFile: stat('inactive_file'),
    activeFile: stat('active_file'),
    unevictable: stat('unevictable'),
    slabReclaimable: stat('slab_reclaimable'),
    slabUnreclaimable: stat('slab_unreclaimable'),
    pgfault: stat('pgfault'),
    pgmajfault: stat('pgmajfault'),
    // Kernels from 5.9 on count anonymous and file pages apart.
    workingsetRefault: stat('workingset_refault') + stat('workingset_refault_anon') + stat('workingset_refault_file'),
    workingsetActivate:
      stat('workingset_activate') + stat('workingset_activate_anon') + stat('workingset_activate_file'),
    workingsetNodereclaim: stat('workingset_nodereclaim'),
    pgrefill: stat('pgrefill'),
    pgscan: stat('pgscan'),
    pgsteal: stat('pgsteal'),
    pgactivate: stat('pgactivate'),
    pgdeactivate: stat('pgdeactivate'),
    pglazyfree: stat('pglazyfree'),
    pglazyfreed: stat('pglazyfreed'),
    thpFaultAlloc: stat('thp_fault_alloc'),
    thpCollapseAlloc: stat('thp_collapse_alloc'),
    usage: memory.usage,
    usageLimit: memory.usageLimit,
    swapUsage: memory.swapUsage,
    swapLimit: memory.swapLimit,
    maxUsage: memory.peak,
  };
}

function memoryEvents(memory: MemoryStats): Init<Metrics>['memoryEvents'] {
  const event = (name: string): bigint => memory.stat.get(`events.${name}`) ?? 0n;
  return { low: event('low'), high: event('high'), max: event('max'), oom: event('oom'), oomKill: event('oom_kill') };
}
