import { describe, expect, test } from 'vitest';
import { groupPath, hostLimits, namesHostParts } from '../../../../runtime/sandbox/host-group.ts';

const POLICY = { enabled: true, parent: '/tskata', overheadMemoryMib: 640, overheadCpuMillis: 1000 };
const MIB = 1024 * 1024;

describe('the path of a group', () => {
  const path = (cgroupsPath: string | undefined, caller: 'command' | 'containerd' = 'containerd') =>
    groupPath({ namespace: 'k8s.io', id: 'id', caller, cgroupsPath }, '/tskata');

  test.each([
    ['/kubepods/besteffort/pod1/id', '/kubepods/besteffort/pod1/id'],
    ['/default/id', '/default/id'],
    ['//a///b/', '/a/b'],
    [
      'kubepods-burstable-pod1.slice:cri-containerd:id',
      '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-id.scope',
    ],
    ['system.slice:docker:id', '/system.slice/docker-id.scope'],
    [':docker:id', '/system.slice/docker-id.scope'],
    ['-.slice::id', '/id.scope'],
    ['a.slice:x:sub.slice', '/a.slice/sub.slice'],
  ])('%j is %s', (given, expected) => {
    expect(path(given)).toEqual({ path: expected, ownParents: false });
  });

  test('without one, or with a relative one, below our own parent', () => {
    for (const given of [undefined, '', 'id', 'a/b']) {
      expect(path(given)).toEqual({ path: '/tskata/k8s.io-id', ownParents: true });
    }
  });

  test('a bundle that the command was given has no say', () => {
    expect(path('/system.slice/ssh.service', 'command')).toEqual({ path: '/tskata/id', ownParents: true });
  });

  test.each([
    '/',
    '/..',
    '/a/../../b',
    '/a/./b',
    '/a b',
    '/a\nb',
    '/cgroup.procs',
    '/a:b',
    `/${'x'.repeat(300)}`,
    `${'/x'.repeat(2000)}`,
    'a--b.slice:p:n',
    '-a.slice:p:n',
    'a:p:n',
    'a-.slice:p:..',
    'x.slice:..:..',
  ])('%j is refused, or is a plain path all the same', (given) => {
    let found: string;
    try {
      found = path(given).path;
    } catch (error) {
      expect(String(error)).toContain('linux.cgroupsPath');
      return;
    }
    expect(found).toMatch(/^(\/[^/\s:]+)+$/);
    expect(found.split('/')).not.toContain('..');
  });
});

describe('the limits of a group', () => {
  const size = { memoryMib: 640, vcpus: 2 };
  const limits = (more: Partial<Parameters<typeof hostLimits>[0]>) =>
    hostLimits({ limits: {}, size, policy: POLICY, containers: [], single: true, ...more });

  test('hold the whole machine and the overhead, whatever the container may use', () => {
    expect(limits({ limits: { memoryBytes: 64 * MIB } }).memoryBytes).toBe((640 + 640) * MIB);
    expect(limits({}).memoryBytes).toBeUndefined();
  });

  test("one container's CPU time is limited exactly, a pod's by the size of its machine", () => {
    expect(limits({ limits: { cpus: 0.5 } }).cpuQuotaUs).toBe(150_000);
    expect(limits({ limits: { cpus: 0.5 }, single: false }).cpuQuotaUs).toBe(300_000);
    expect(limits({}).cpuQuotaUs).toBeUndefined();
    expect(limits({ limits: { cpuShares: 512 } }).cpuShares).toBe(512);
  });

  test('CPUs and devices of the host: all that the containers may use together', () => {
    const throttleReadBpsDevice = [{ major: 8, minor: 0, rate: 9 }];
    expect(
      limits({
        containers: [
          { cpu: { cpus: '1', mems: '0' }, blockIO: { throttleReadBpsDevice } },
          { cpu: { cpus: '2-3', mems: '0' } },
        ],
      }),
    ).toMatchObject({
      cpusetCpus: '1,2-3',
      cpusetMems: '0',
      throttles: [{ kind: 'rbps', major: 8, minor: 0, rate: 9 }],
    });
    expect(limits({ containers: [{ cpu: { cpus: '1' } }, {}] }).cpusetCpus).toBe('inherit');
    expect(namesHostParts({ cpu: { cpus: '1' } })).toBe(true);
    expect(namesHostParts({ cpu: { cpus: '' }, memory: { limit: 1 } })).toBe(false);
  });
});
