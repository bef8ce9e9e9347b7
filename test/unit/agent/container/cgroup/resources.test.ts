import { expect, test } from 'vitest';
import {
  cgroupWrites,
  swapOnly,
  weightOfBlkio,
  weightOfShares,
} from '../../../../../agent/container/cgroup/resources.ts';
import { Resources } from '../../../../../agent/protocol/generated/agent.ts';
import type { Init } from '../../../../../agent/protocol/message.ts';

const writes = (resources: Init<Resources>): string[] =>
  cgroupWrites(Resources.create(resources)).map(({ file, value }) => `${file} ${value}`);

test('shares and weights, the values of runc', () => {
  expect([2n, 1024n, 262_144n, 0n, 1n].map(weightOfShares)).toEqual([1n, 39n, 10_000n, 0n, 1n]);
  expect([10, 500, 1000, 0].map(weightOfBlkio)).toEqual([1, 4950, 10_000, 0]);
});

test('swap without memory', () => {
  expect(swapOnly(300n, 100n)).toBe(200n);
  expect(swapOnly(100n, 100n)).toBe(0n);
  expect(swapOnly(-1n, 100n)).toBe(-1n);
  expect(swapOnly(0n, -1n)).toBe(-1n);
  expect(() => swapOnly(10n, 100n)).toThrow('below memory.limit');
  expect(() => swapOnly(10n, 0n)).toThrow('needs memory.limit');
});

test('cpu', () => {
  expect(writes({ cpuQuota: 50_000n })).toEqual(['cpu.max 50000 100000']);
  expect(writes({ cpuQuota: -1n, cpuPeriod: 20_000n })).toEqual(['cpu.max max 20000']);
  expect(writes({ cpuPeriod: 20_000n })).toEqual(['cpu.max max 20000']);
  expect(writes({ cpuShares: 1024n, cpusetCpus: '0-1', cpusetMems: '0' })).toEqual([
    'cpu.weight 39',
    'cpuset.cpus 0-1',
    'cpuset.mems 0',
  ]);
  expect(writes({ cpuIdle: 1n, cpuShares: 512n })).toEqual(['cpu.idle 1']);
  expect(writes({ cpuQuota: 10n, cpuBurst: 5n })).toEqual(['cpu.max 10 100000', 'cpu.max.burst 5']);
  expect(writes({ cpuQuota: 10n, cpuBurst: 0n })).toEqual(['cpu.max.burst 0', 'cpu.max 10 100000']);
});

test('memory, pids', () => {
  expect(writes({ memoryLimit: 100n, memorySwap: 100n, memoryReservation: 50n })).toEqual([
    'memory.swap.max 0',
    'memory.max 100',
    'memory.low 50',
  ]);
  expect(writes({ memoryLimit: -1n })).toEqual(['memory.swap.max max', 'memory.max max']);
  expect(writes({ pidsLimit: 0n })).toEqual([]);
  expect(writes({ pidsLimit: -1n })).toEqual(['pids.max max']);
});

test('io, huge pages, unified last', () => {
  const unified = new Map([['memory.high', '1']]);
  const resources = {
    unified,
    blkioWeight: 100,
    throttleReadBps: [{ major: 8n, minor: 0n, rate: 5n }],
    throttleWriteIops: [{ major: 8n, minor: 1n, rate: 0n }],
    hugepageLimits: [{ pageSize: '2MB', limit: 9n }],
  };
  expect(writes(resources)).toEqual([
    'io.bfq.weight 100',
    'io.max 8:0 rbps=5',
    'io.max 8:1 wiops=max',
    'hugetlb.2MB.max 9',
    'hugetlb.2MB.rsvd.max 9',
    'memory.high 1',
  ]);
  const [weight] = cgroupWrites(Resources.create({ blkioWeight: 100 }));
  expect(weight?.otherwise).toEqual({ file: 'io.weight', value: 'default 910' });
});

test('names that are no controller files are refused', () => {
  for (const name of ['../memory.max', 'cgroup.procs', 'memory', 'a/b.c', '']) {
    expect(() => writes({ unified: new Map([[name, '1']]) })).toThrow('unified');
  }
  expect(() => writes({ hugepageLimits: [{ pageSize: '../x', limit: 1n }] })).toThrow('huge page size');
});
