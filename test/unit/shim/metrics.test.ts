import { expect, test } from 'vitest';
import { StatsResponse } from '../../../agent/protocol/generated/agent.ts';
import { Metrics } from '../../../shim/task/generated/cgroups.ts';
import { metrics } from '../../../shim/task/metrics.ts';

/** Names of memory.stat in the order of containerd's message, each with a value of its own. */
const STAT = [
  ...[
    'anon',
    'file',
    'kernel_stack',
    'slab',
    'sock',
    'shmem',
    'file_mapped',
    'file_dirty',
    'file_writeback',
    'anon_thp',
  ],
  ...['inactive_anon', 'active_anon', 'inactive_file', 'active_file', 'unevictable', 'slab_reclaimable'],
  ...['slab_unreclaimable', 'pgfault', 'pgmajfault', 'workingset_refault', 'workingset_activate'],
  ...['workingset_nodereclaim', 'pgrefill', 'pgscan', 'pgsteal', 'pgactivate', 'pgdeactivate', 'pglazyfree'],
  ...['pglazyfreed', 'thp_fault_alloc', 'thp_collapse_alloc'],
];

function camel(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

test("every counter of the guest is in its field of containerd's message, exact to 64 bits", () => {
  const huge = 2n ** 63n + 1n;
  const events = ['low', 'high', 'max', 'oom', 'oom_kill'];
  const stat = new Map([
    ...STAT.map((name, index) => [name, huge + BigInt(index)] as const),
    ...events.map((name, index) => [`events.${name}`, BigInt(index + 1)] as const),
  ]);
  const cpu = { usageUsec: 1n, userUsec: 2n, systemUsec: 3n, nrPeriods: 4n, nrThrottled: 5n, throttledUsec: 6n };
  const io = { major: 254n, minor: 16n, rbytes: 1n, wbytes: 2n, rios: 3n, wios: 4n };
  const link = { rxBytes: 1n, rxPackets: 2n, rxErrors: 3n, rxDropped: 4n, txBytes: 5n, txPackets: 6n };
  const network = { name: 'eth0', ...link, txErrors: 7n, txDropped: 8n };
  const memory = { usage: 10n, usageLimit: 2n ** 64n - 1n, swapUsage: 12n, swapLimit: 13n, peak: 14n, stat };
  const hugetlb = [{ pageSize: '2MB', current: 1n, max: 2n }];
  const told = StatsResponse.create({
    cpu,
    memory,
    pidsCurrent: 7n,
    pidsLimit: 8n,
    io: [io],
    interfaces: [network],
    hugetlb,
  });
  const seen = Metrics.decode(Metrics.encode(metrics(told)));
  expect(seen).toMatchObject({
    pids: { current: 7n, limit: 8n },
    cpu,
    io: { usage: [io] },
    hugetlb: [{ pagesize: '2MB', current: 1n, max: 2n }],
    memoryEvents: { low: 1n, high: 2n, max: 3n, oom: 4n, oomKill: 5n },
    network: [network],
  });
  const counters = Object.fromEntries(STAT.map((name, index) => [camel(name), huge + BigInt(index)]));
  const { peak: maxUsage, usage, usageLimit, swapUsage, swapLimit } = memory;
  expect(seen.memory).toEqual({ ...counters, maxUsage, usage, usageLimit, swapUsage, swapLimit, swapMaxUsage: 0n });
});

test('a guest that counts nothing gives zeros, not an error', () => {
  expect(() => Metrics.encode(metrics(StatsResponse.create({})))).not.toThrow();
});
