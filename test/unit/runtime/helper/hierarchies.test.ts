import { describe, expect, test } from 'vitest';
import { groupDirectories, parentsOf } from '../../../../runtime/helper/group-files.ts';
import { findHierarchies, type GroupLimits, groupWrites } from '../../../../runtime/helper/hierarchies.ts';

const V1 = `24 1 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
25 24 0:21 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
26 24 0:22 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
27 24 0:23 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
28 24 0:24 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd`;
const V2 = '29 24 0:25 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate';
const HYBRID = `${V1}\n29 24 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw`;

const NOTHING: GroupLimits = { cpusetCpus: '', cpusetMems: '', throttles: [] };
const ALL: GroupLimits = {
  memoryBytes: 2n ** 30n,
  cpuShares: 1024n,
  cpuQuotaUs: 250_000n,
  pids: 4096n,
  cpusetCpus: '2-3',
  cpusetMems: '0',
  throttles: [
    { kind: 'rbps', major: 8n, minor: 0n, rate: 1000n },
    { kind: 'wiops', major: 8n, minor: 16n, rate: 0n },
  ],
};

describe('where the controllers are', () => {
  test('v1, also beside a v2 hierarchy without any', () => {
    for (const text of [V1, HYBRID]) {
      const found = findHierarchies(text);
      expect(found).toEqual({
        version: 1,
        mounts: new Map([
          ['cpu', '/sys/fs/cgroup/cpu,cpuacct'],
          ['cpuacct', '/sys/fs/cgroup/cpu,cpuacct'],
          ['memory', '/sys/fs/cgroup/memory'],
        ]),
      });
    }
  });

  test('v2 alone, and none', () => {
    expect(findHierarchies(V2)).toEqual({ version: 2, mount: '/sys/fs/cgroup' });
    expect(findHierarchies('')).toBeUndefined();
    expect(findHierarchies('28 24 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd')).toBeUndefined();
  });
});

describe('the directories of a group', () => {
  test('one for each mount point, with its parents from the top', () => {
    const found = findHierarchies(V1);
    if (found === undefined) throw new Error('no hierarchies');
    const [cpu, memory, ...more] = groupDirectories(found, '/kubepods/pod1/x', ['cpuacct', 'memory']);
    expect(cpu).toMatchObject({ path: '/sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/x', controllers: ['cpu', 'cpuacct'] });
    expect(memory?.controllers).toEqual(['memory']);
    expect(more).toEqual([]);
    expect(memory && parentsOf(memory)).toEqual([
      '/sys/fs/cgroup/memory/kubepods',
      '/sys/fs/cgroup/memory/kubepods/pod1',
    ]);
  });

  test.each(['', '/', 'x', '/a//b', '/a/', '/../x', '/a/./b', '/a b', '/a\0', `/${'x'.repeat(256)}`, '/a'.repeat(33)])(
    'never outside of them: %j is refused',
    (path) => {
      expect(() => groupDirectories({ version: 2, mount: '/sys/fs/cgroup' }, path, ['memory'])).toThrow('enter cgroup');
    },
  );
});

describe('limits', () => {
  const text = (version: 1 | 2, limits: GroupLimits): string[] =>
    groupWrites(version, limits).map(({ file, value }) => `${file}=${value}`);

  test('as v1 has them', () => {
    expect(text(1, ALL)).toEqual([
      'cpuset.mems=0',
      'cpuset.cpus=2-3',
      'memory.limit_in_bytes=1073741824',
      'cpu.shares=1024',
      'cpu.cfs_period_us=100000',
      'cpu.cfs_quota_us=250000',
      'pids.max=4096',
      'blkio.throttle.read_bps_device=8:0 1000',
      'blkio.throttle.write_iops_device=8:16 0',
    ]);
    expect(text(1, { ...NOTHING, cpuQuotaUs: -1n })).toEqual(['cpu.cfs_period_us=100000', 'cpu.cfs_quota_us=-1']);
  });

  test('as v2 has them', () => {
    expect(text(2, ALL)).toEqual([
      'cpuset.mems=0',
      'cpuset.cpus=2-3',
      'memory.max=1073741824',
      'cpu.weight=39',
      'cpu.max=250000 100000',
      'pids.max=4096',
      'io.max=8:0 rbps=1000',
      'io.max=8:16 wiops=max',
    ]);
    expect(text(2, { ...NOTHING, cpuQuotaUs: -1n })).toEqual(['cpu.max=max 100000']);
  });

  test('what is not said is not written; a throttle of an unknown kind neither', () => {
    const odd = { ...NOTHING, throttles: [{ kind: '../x', major: 1n, minor: 1n, rate: 1n }] };
    for (const version of [1, 2] as const) expect(text(version, odd)).toEqual([]);
  });
});
