import { expect, test } from 'vitest';
import {
  cpuStats,
  hugetlbStats,
  ioStats,
  memoryStats,
  pidsStats,
} from '../../../../../agent/container/cgroup/stats.ts';

const files: Record<string, string> = {
  'cpu.stat': 'usage_usec 100\nuser_usec 60\nsystem_usec 40\nnr_periods 3\nnr_throttled 2\nthrottled_usec 1\n',
  'memory.current': '4096\n',
  'memory.max': 'max\n',
  'memory.stat': 'anon 1\nfile 2\n',
  'memory.events': 'oom_kill 5\n',
  'pids.current': '7\n',
  'hugetlb.2MB.current': '2097152\n',
  'hugetlb.2MB.max': 'max\n',
  'io.stat': '254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:16 \nbroken\n',
};
const read = (name: string): string => files[name] ?? '';

test('counters by their names, missing files as zero', () => {
  expect(cpuStats(read)).toEqual({
    usageUsec: 100n,
    userUsec: 60n,
    systemUsec: 40n,
    nrPeriods: 3n,
    nrThrottled: 2n,
    throttledUsec: 1n,
  });
  const memory = memoryStats(read);
  expect(memory).toMatchObject({ usage: 4096n, usageLimit: 2n ** 64n - 1n, swapUsage: 0n, peak: 0n });
  expect([...memory.stat]).toEqual([
    ['anon', 1n],
    ['file', 2n],
    ['events.oom_kill', 5n],
  ]);
  expect(pidsStats(read)).toEqual({ current: 7n, limit: 0n });
  expect(hugetlbStats(read)).toEqual([{ pageSize: '2MB', current: 2_097_152n, max: 2n ** 64n - 1n }]);
  expect(ioStats(read)).toEqual([
    { major: 254n, minor: 0n, rbytes: 1n, wbytes: 2n, rios: 3n, wios: 4n },
    { major: 254n, minor: 16n, rbytes: 0n, wbytes: 0n, rios: 0n, wios: 0n },
  ]);
});
