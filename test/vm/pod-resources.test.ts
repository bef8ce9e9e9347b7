/**
 * A pod's size and its place on the host, by the annotations and the path that CRI gives its sandbox; and what its
 * containers cannot order by annotations of their own.
 */
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findHierarchies } from '../../runtime/helper/hierarchies.ts';
import { PodShim } from '../helpers/pod-shim.ts';
import { eventually } from '../helpers/tskata.ts';

const MIB = 1024 * 1024;
const TOP = `/tskata-test-${process.pid}`;
const PATH = `${TOP}/pod1/pod`;
const ENDING_MS = 20_000;
const CRI = 'io.kubernetes.cri.';
const found = findHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'));

let pod: PodShim;

function directory(controller: 'memory' | 'cpu' | 'cpuset', path = PATH): string {
  if (found === undefined) throw new Error('this host has no cgroups');
  return `${found.version === 2 ? found.mount : found.mounts.get(controller)}${path}`;
}

/** A control file, by its name in either version. */
function read(controller: 'memory' | 'cpu' | 'cpuset', v1: string, v2: string): string {
  return readFileSync(join(directory(controller), found?.version === 2 ? v2 : v1), 'utf8').trim();
}

function ofPod(id: string): Record<string, string> {
  return { [`${CRI}container-type`]: 'container', [`${CRI}sandbox-id`]: 'pod', [`${CRI}container-name`]: id };
}

beforeAll(async () => {
  pod = new PodShim();
  await pod.start('pod', {
    cgroupsPath: PATH,
    annotations: {
      [`${CRI}container-type`]: 'sandbox',
      [`${CRI}sandbox-id`]: 'pod',
      [`${CRI}sandbox-memory`]: String(500 * MIB),
      [`${CRI}sandbox-cpu-quota`]: '150000',
      [`${CRI}sandbox-cpu-period`]: '100000',
      [`${CRI}sandbox-cpu-shares`]: '512',
    },
    // What CRI gives every pause container.
    resources: { cpu: { shares: 2 } },
  });
});
afterAll(async () => {
  await pod.dispose();
  await eventually(() => !existsSync(directory('memory', TOP)), ENDING_MS, 'the groups of the pod are gone');
  for (const controller of ['memory', 'cpu', 'cpuset'] as const) expect(existsSync(directory(controller))).toBe(false);
});

test('the machine is as large as the sum of the limits and the overhead of its kernel', async () => {
  const vcpus = Math.min(2, availableParallelism());
  expect(await pod.sh('pod', 'grep -c ^processor /proc/cpuinfo')).toBe(String(vcpus));
  const total = Number((await pod.sh('pod', 'cat /proc/meminfo')).match(/MemTotal:\s+(\d+) kB/)?.[1]) * 1024;
  expect(total).toBeGreaterThan(540 * MIB);
  expect(total).toBeLessThanOrEqual((500 + 128) * MIB);
  expect(read('memory', 'memory.limit_in_bytes', 'memory.max')).toBe(String((500 + 128 + 640) * MIB));
  expect(read('cpu', 'cpu.cfs_quota_us', 'cpu.max')).toMatch(new RegExp(`^${(vcpus + 1) * 100_000}`));
  expect(read('cpu', 'cpu.shares', 'cpu.weight')).toBe(found?.version === 2 ? '20' : '512');
});

test("its programs are charged to the pod's group: shim, keeper, QEMU, file server, stand-ins", () => {
  const leaf = found?.version === 2 ? 'main/cgroup.procs' : 'cgroup.procs';
  const inside = readFileSync(join(directory('memory'), leaf), 'utf8')
    .trim()
    .split('\n');
  const record = pod.store.list()[0]?.record;
  const expected = [record?.shim.pid, record?.keeper?.pid, record?.qemu?.pid, ...pod.programs('virtiofsd')];
  expect(inside).toEqual(expect.arrayContaining(expected.map(String)));
});

test("CPUs of the host that containers name are the group's; one that names none is not bound by another's", async () => {
  await pod.start('bound', {
    annotations: ofPod('bound'),
    cgroupsPath: `${TOP}/pod1/bound`,
    resources: { memory: { limit: 100 * MIB }, cpu: { cpus: '0' } },
  });
  expect(read('cpuset', 'cpuset.cpus', 'cpuset.cpus')).toBe('0');
  // A container of the pod has no group of its own on the host.
  expect(existsSync(directory('memory', `${TOP}/pod1/bound`))).toBe(false);
  await pod.start('free', { annotations: ofPod('free'), resources: {} });
  const qemu = pod.store.list()[0]?.record?.qemu?.pid;
  const own = /Cpus_allowed_list:\s*(\S+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  expect(/Cpus_allowed_list:\s*(\S+)/.exec(readFileSync(`/proc/${qemu}/status`, 'utf8'))?.[1]).toBe(own);
});

test("annotations that order the command's own shim are refused from a pod's bundle, and nothing is written", async () => {
  const file = join(pod.directory, 'written');
  for (const [name, value] of [
    ['io.tskata.log.path', file],
    ['io.tskata.detached', 'remove'],
    ['io.tskata.publish', '[{"hostPort":1,"containerPort":1}]'],
    ['io.tskata.sandbox.memory', '4096'],
  ] as const) {
    const annotations = { ...ofPod('hostile'), [name]: value };
    await expect(pod.create('hostile', { annotations })).rejects.toThrow(`annotations['${name}']: `);
  }
  expect(existsSync(file)).toBe(false);
  expect(await pod.sh('pod', 'echo alive')).toBe('alive');
});

test('a path of somebody else is refused before anything is made', async () => {
  const other = new PodShim();
  try {
    const path = dirname(PATH);
    await expect(other.create('x', { cgroupsPath: `${path}/../../memory` })).rejects.toThrow('linux.cgroupsPath');
    // What holds the groups of others, and the living pod's own.
    await expect(other.create('x', { cgroupsPath: path })).rejects.toThrow('has groups below that are not of this');
    await expect(other.create('x', { cgroupsPath: PATH })).rejects.toThrow(/holds \d+ processes that are not of this/);
  } finally {
    await other.dispose();
  }
  expect(await pod.sh('pod', 'echo alive')).toBe('alive');
});
