/**
 * Owns the reading of a cgroup's counters. Files that a kernel or a group does not have count as empty.
 */
import type { CpuStats, HugetlbStats, IoStats, MemoryStats } from '../../protocol/generated/agent.ts';

/** Reads a file of the group: its text, or "" when there is none. */
export type ReadFile = (name: string) => string;

const UNLIMITED = (1n << 64n) - 1n;
/** All sizes of huge pages that x86-64 has. */
const PAGE_SIZES = ['2MB', '1GB'] as const;

/** "key value" lines. */
export function parseFlatKeyed(text: string): Map<string, bigint> {
  const values = new Map<string, bigint>();
  for (const line of text.split('\n')) {
    const space = line.indexOf(' ');
    const value = line.slice(space + 1);
    if (space > 0 && /^[0-9]+$/.test(value)) values.set(line.slice(0, space), BigInt(value));
  }
  return values;
}

/** A single number; "max" is the largest 64-bit one. */
function parseValue(text: string): bigint {
  const word = text.trim();
  if (word === 'max') return UNLIMITED;
  return /^[0-9]+$/.test(word) ? BigInt(word) : 0n;
}

export function cpuStats(read: ReadFile): CpuStats {
  const stat = parseFlatKeyed(read('cpu.stat'));
  return {
    usageUsec: stat.get('usage_usec') ?? 0n,
    userUsec: stat.get('user_usec') ?? 0n,
    systemUsec: stat.get('system_usec') ?? 0n,
    nrPeriods: stat.get('nr_periods') ?? 0n,
    nrThrottled: stat.get('nr_throttled') ?? 0n,
    throttledUsec: stat.get('throttled_usec') ?? 0n,
  };
}

export function memoryStats(read: ReadFile): MemoryStats {
  const stat = parseFlatKeyed(read('memory.stat'));
  for (const [key, value] of parseFlatKeyed(read('memory.events'))) stat.set(`events.${key}`, value);
  return {
    usage: parseValue(read('memory.current')),
    usageLimit: parseValue(read('memory.max')),
    swapUsage: parseValue(read('memory.swap.current')),
    swapLimit: parseValue(read('memory.swap.max')),
    peak: parseValue(read('memory.peak')),
    stat,
  };
}

export function pidsStats(read: ReadFile): { readonly current: bigint; readonly limit: bigint } {
  return { current: parseValue(read('pids.current')), limit: parseValue(read('pids.max')) };
}

/** Sizes that the guest has not have no files. */
export function hugetlbStats(read: ReadFile): HugetlbStats[] {
  return PAGE_SIZES.flatMap((pageSize) => {
    const current = read(`hugetlb.${pageSize}.current`);
    if (current === '') return [];
    return [{ pageSize, current: parseValue(current), max: parseValue(read(`hugetlb.${pageSize}.max`)) }];
  });
}

/** Lines like "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0". */
export function ioStats(read: ReadFile): IoStats[] {
  const devices: IoStats[] = [];
  for (const line of read('io.stat').split('\n')) {
    const match = /^([0-9]+):([0-9]+) (.*)$/.exec(line);
    if (match === null) continue;
    const values = new Map<string, bigint>();
    for (const word of (match[3] ?? '').split(' ')) {
      const pair = /^([a-z]+)=([0-9]+)$/.exec(word);
      if (pair !== null) values.set(pair[1] ?? '', BigInt(pair[2] ?? '0'));
    }
    devices.push({
      major: BigInt(match[1] ?? '0'),
      minor: BigInt(match[2] ?? '0'),
      rbytes: values.get('rbytes') ?? 0n,
      wbytes: values.get('wbytes') ?? 0n,
      rios: values.get('rios') ?? 0n,
      wios: values.get('wios') ?? 0n,
    });
  }
  return devices;
}
