/** State, Stats and what is told of a container. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Code } from '../../../../agent/protocol/errors.ts';
import { Metrics } from '../../../../shim/task/generated/cgroups.ts';
import { IMAGE_ROOTFS, ShimHarness } from '../../../helpers/shim-harness.ts';

let shim: ShimHarness;

beforeEach(async () => {
  shim = await ShimHarness.start();
});

afterEach(async () => {
  await shim.stop();
});
test('the API has the names of both versions', async () => {
  const { id, bundle } = shim.bundle('one', ['sleep']);
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  const third = await shim.client('containerd.task.v3.Task');
  expect((await third.task.state({ id })).status).toBe(1);
  third.close();
  const fourth = await shim.client('containerd.task.v4.Task');
  await expect(fourth.task.state({ id })).rejects.toMatchObject({ code: Code.Unimplemented });
  fourth.close();
});

describe('State', () => {
  test('does not wait behind a Create', async () => {
    const first = shim.bundle('one', ['sleep']);
    await shim.task.create({ id: first.id, bundle: first.bundle, rootfs: IMAGE_ROOTFS });
    const slow = shim.bundle('two', ['true']);
    const gate = Promise.withResolvers<void>();
    const attach = shim.vms.last.attachDisk.bind(shim.vms.last);
    shim.vms.last.attachDisk = async (disk) => {
      await gate.promise;
      await attach(disk);
    };
    const creating = shim.task.create({ id: slow.id, bundle: slow.bundle, rootfs: IMAGE_ROOTFS.slice(0, 1) });
    // The Create ends only after these have answered.
    expect((await shim.task.state({ id: 'one' })).status).toBe(1);
    await expect(shim.task.state({ id: 'two' })).rejects.toMatchObject({ code: Code.NotFound });
    gate.resolve();
    await creating;
  });
});

test('stats are cgroup v2 metrics with network counters, exact to 64 bits', async () => {
  const { id, bundle } = shim.bundle('one', ['sleep']);
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  await shim.task.start({ id });
  const { stats } = await shim.task.stats({ id });
  expect(stats?.typeUrl).toBe('io.containerd.cgroups.v2.Metrics');
  expect(Metrics.decode(stats?.value ?? new Uint8Array())).toMatchObject({
    cpu: { usageUsec: 2n ** 53n + 1n },
    memory: { usage: 4096n, anon: 17n },
    memoryEvents: { oomKill: 3n },
    network: [{ name: 'eth0', rxBytes: 11n, txBytes: 12n }],
  });
});

test('stats of an ended container are the last counters, until it is deleted', async () => {
  const { id, bundle } = shim.bundle('one', ['true']);
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  await shim.task.start({ id });
  await shim.task.wait({ id });
  const { stats } = await shim.task.stats({ id });
  expect(Metrics.decode(stats?.value ?? new Uint8Array()).cpu?.usageUsec).toBe(2n ** 53n + 1n);
  await shim.task.delete({ id });
  await expect(shim.task.stats({ id })).rejects.toMatchObject({ code: Code.NotFound });
});

test('an OOM is told before the exit', async () => {
  const { id, bundle } = shim.bundle('one', ['oom']);
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  await shim.task.start({ id });
  await shim.task.wait({ id });
  expect(shim.topics).toEqual(['create', 'start', 'oom', 'exit']);
  expect(existsSync(join(bundle, 'oom'))).toBe(false);
});

test('of an OOM CRI-O finds the file that it looks for', async () => {
  const annotations = { 'io.kubernetes.cri-o.ContainerType': 'container', 'io.kubernetes.cri-o.SandboxID': 'pod' };
  const { id, bundle } = shim.bundle('one', ['oom'], { annotations });
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  await shim.task.start({ id });
  await shim.task.wait({ id });
  expect(statSync(join(bundle, 'oom'))).toMatchObject({ size: 0 });
});
