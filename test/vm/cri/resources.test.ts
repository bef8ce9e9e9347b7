/**
 * Limits, sizes and configuration as Kubernetes brings them: CRI's resources of a pod and its containers, live updates,
 * counters, annotations of a pod's author, and the file that containerd's runtime entry names (ConfigPath).
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findHierarchies } from '../../../runtime/helper/hierarchies.ts';
import { Containerd } from '../../helpers/containerd.ts';
import { type Handler, Pod, type PodContainer } from '../../helpers/cri/pod.ts';
import { eventually } from '../../helpers/tskata.ts';

const MIB = 1024 * 1024;
/** A second runtime entry, as an administrator would make it. */
const CONFIGURED = 'configured' as Handler;
const GOOD = [
  'enable_annotations = ["io.tskata.sandbox.vcpus"]',
  '[machine]\ndefault_memory_mib = 400\nmax_vcpus = 4',
].join('\n');
const GONE_MS = 20_000;
const COUNTED_MS = 60_000;
/** Many calls, each of which waits for a processor on a busy machine. */
const SLOW_MS = 180_000;

let containerd: Containerd;
let directory: string;
let config: string;
let pod: Pod;
let container: PodContainer;

function entry(path: string): string {
  const section = 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes.configured';
  return [
    `[${section}]`,
    '  runtime_type = "io.containerd.tskata.v2"',
    '  privileged_without_host_devices = true',
    '  pod_annotations = ["io.tskata.*"]',
    `[${section}.options]`,
    `  ConfigPath = "${path}"`,
  ].join('\n');
}

/** The memory group of the pod on this host. */
function hostGroup(): string {
  const found = findHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'));
  if (found === undefined) throw new Error('this host has no cgroups');
  const mount = found.version === 2 ? found.mount : found.mounts.get('memory');
  return `${mount}${containerd.cgroupParent}/${pod.id}`;
}

function update(linux: object): Promise<unknown> {
  return containerd.cri.runtime.updateContainerResources({ containerId: container.id, linux });
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tsk-config-'));
  config = join(directory, 'tskata.toml');
  writeFileSync(config, GOOD, { mode: 0o644 });
  containerd = await Containerd.start({ extraConfig: entry(config) });
  pod = await Pod.run(containerd, CONFIGURED, {
    annotations: new Map([['io.tskata.sandbox.vcpus', '2']]),
    linux: {
      cgroupParent: containerd.cgroupParent,
      resources: { memoryLimitInBytes: BigInt(320 * MIB), cpuQuota: 50_000n, cpuPeriod: 100_000n, cpuShares: 256n },
    },
  });
  container = await pod.start({
    name: 'main',
    command: ['sleep', '100000'],
    linux: { resources: { memoryLimitInBytes: BigInt(100 * MIB), cpuQuota: 50_000n, cpuPeriod: 100_000n } },
  });
});
afterAll(async () => {
  try {
    const group = hostGroup();
    await pod.remove();
    await eventually(() => !existsSync(group), GONE_MS, 'the group of the pod is gone');
    await containerd.dispose();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("the machine is as large as the pod's limits and the enabled annotation say, in the pod's group", async () => {
  const vcpus = availableParallelism() > 1 ? '2' : '1';
  expect((await container.output('grep -c ^processor /proc/cpuinfo')).trim()).toBe(vcpus);
  const total = Number((await container.output('cat /proc/meminfo')).match(/MemTotal:\s+(\d+)/)?.[1]) / 1024;
  expect(total).toBeGreaterThan(360);
  expect(total).toBeLessThanOrEqual(320 + 128);
  expect(existsSync(hostGroup())).toBe(true);
});

test('an update changes the limits of a running container; one beyond the machine is refused with its size', async () => {
  await update({ memoryLimitInBytes: BigInt(150 * MIB), cpuShares: 512n, cpusetCpus: '0' });
  const files = (await container.output('cd /sys/fs/cgroup; cat memory.max cpu.max cpu.weight')).trim().split('\n');
  expect(files).toEqual([String(150 * MIB), '50000 100000', '20']);
  await expect(update({ memoryLimitInBytes: BigInt(1000 * MIB) })).rejects.toThrow(
    'a memory limit of 1000 MiB; its machine has 448 MiB, of which containers can have 320',
  );
  expect((await container.output('cat /sys/fs/cgroup/memory.max')).trim()).toBe(String(150 * MIB));
});

test(
  'the counters of CRI are those of the container',
  async () => {
    const { stats: before } = await containerd.cri.runtime.containerStats({ containerId: container.id });
    await container.output('n=0; while [ $n -lt 30000 ]; do n=$((n+1)); done');
    await container.output('dd if=/dev/zero of=/dev/shm/held bs=1M count=30 2>/dev/null');
    // containerd reads CPU counters at intervals of its own.
    await eventually(
      async () => {
        const { stats: after } = await containerd.cri.runtime.containerStats({ containerId: container.id });
        const cpu = (of: typeof after) => Number(of?.cpu?.usageCoreNanoSeconds?.value ?? 0n);
        const memory = (of: typeof after) => Number(of?.memory?.workingSetBytes?.value ?? 0n);
        return cpu(after) > cpu(before) && memory(after) - memory(before) > 20 * MIB;
      },
      COUNTED_MS,
      'CPU time and memory have grown',
    );
  },
  SLOW_MS,
);

test('an annotation that is not enabled refuses the pod by name, and nothing is left of it', async () => {
  for (const [name, value] of [
    ['io.tskata.sandbox.memory', '1024'],
    ['io.tskata.log.path', join(directory, 'written')],
    ['io.tskata.sandbox.vcpu', '1'],
  ] as const) {
    await expect(Pod.run(containerd, CONFIGURED, { annotations: new Map([[name, value]]) })).rejects.toThrow(
      `annotations['${name}']`,
    );
  }
  expect(existsSync(join(directory, 'written'))).toBe(false);
});

test('a mistake in the file refuses new pods by file and key; running ones are not disturbed', async () => {
  writeFileSync(config, '[machine]\nkernle = "/x"');
  await expect(Pod.run(containerd, CONFIGURED)).rejects.toThrow(
    `read ${config}: machine.kernle: unknown key; did you mean "kernel"?`,
  );
  expect((await container.output('echo alive')).trim()).toBe('alive');
  writeFileSync(config, GOOD);
});
