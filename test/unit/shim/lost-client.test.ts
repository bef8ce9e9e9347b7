/** containerd goes away: what it had asked for is undone, what it still knows stays, what it has forgotten ends. */
import { mkdirSync, rmSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import type { Clock } from '../../../agent/protocol/channel.ts';
import { Code } from '../../../agent/protocol/errors.ts';
import { nodeClock } from '../../../runtime/host/clock.ts';
import { type Logger, silentLogger } from '../../../runtime/host/log.ts';
import { IMAGE_ROOTFS, ShimHarness } from '../../helpers/shim-harness.ts';
import { eventually } from '../../helpers/tskata.ts';

let shim: ShimHarness;

afterEach(async () => {
  await shim.stop();
});

test('a Create whose client goes away is undone, and its id is free again', async () => {
  shim = await ShimHarness.start({ containerdAddress: '/run/containerd.sock' });
  const gate = Promise.withResolvers<void>();
  shim.vms.gate = gate.promise;
  const { task, close } = await shim.client();
  const first = shim.bundle('one', ['sleep']);
  void task.create({ id: 'one', bundle: first.bundle, rootfs: IMAGE_ROOTFS }).catch(() => undefined);
  await eventually(() => shim.shim.sandbox.has('one'), 15_000, 'a create under way');
  close();
  // What was closed before this call was sent is seen before it is answered.
  await expect(shim.task.state({ id: 'one' })).rejects.toMatchObject({ code: Code.NotFound });
  gate.resolve();
  await eventually(() => shim.shim.sandbox.idle, 15_000, 'the end of the create');
  expect(shim.vms.last.stops).toBeGreaterThan(0);
  expect(shim.standIns.size).toBe(0);
  expect(shim.topics).toEqual([]);
  await expect(shim.task.connect({ id: 'one' })).rejects.toMatchObject({ code: Code.NotFound });
  const { id, bundle } = shim.bundle('one', ['sleep']);
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
});

test('a container of a pod that is undone leaves the pod alone', async () => {
  shim = await ShimHarness.start({ containerdAddress: '/run/containerd.sock' });
  const pod = shim.bundle('pod', ['sleep']);
  await shim.task.create({ id: pod.id, bundle: pod.bundle, rootfs: IMAGE_ROOTFS });
  await shim.task.start({ id: 'pod' });
  const gate = Promise.withResolvers<void>();
  const attach = shim.vms.last.attachDisk.bind(shim.vms.last);
  let attaching = false;
  shim.vms.last.attachDisk = async (disk) => {
    attaching = true;
    await gate.promise;
    await attach(disk);
  };
  const { task, close } = await shim.client();
  const { id, bundle } = shim.bundle('app', ['sleep']);
  void task.create({ id, bundle, rootfs: IMAGE_ROOTFS.slice(0, 1) }).catch(() => undefined);
  await eventually(() => attaching, 15_000, 'a create under way');
  close();
  await shim.task.state({ id: 'pod' });
  gate.resolve();
  await eventually(() => !shim.shim.sandbox.has('app'), 15_000, 'the end of the create');
  expect(shim.vms.last.guest.containers.has('app')).toBe(false);
  expect(shim.topics).toEqual(['create', 'start']);
  expect(await shim.task.state({ id: 'pod' })).toMatchObject({ status: 2 });
});

test('a Create past its deadline is undone as well', async () => {
  let refused = false;
  const log: Logger = { ...silentLogger, info: (message) => (refused ||= message === 'call failed') };
  shim = await ShimHarness.start({ containerdAddress: '/run/containerd.sock', log });
  const gate = Promise.withResolvers<void>();
  shim.vms.gate = gate.promise;
  const { id, bundle } = shim.bundle('one', ['sleep']);
  const creating = shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS }, { timeoutMs: 200 });
  await expect(creating).rejects.toMatchObject({ code: Code.DeadlineExceeded });
  await eventually(() => refused, 15_000, "the shim's own deadline");
  gate.resolve();
  await eventually(() => shim.shim.sandbox.idle, 15_000, 'the end of the create');
  expect(shim.standIns.size).toBe(0);
});

test('a shim without a client ends when its bundle is gone, and not before', async () => {
  const checks: (() => void)[] = [];
  const timer: Clock['timer'] = (timeMs, callback) => {
    if (timeMs !== 20_000) return nodeClock.timer(timeMs, callback);
    checks.push(callback);
    return () => undefined;
  };
  const clock = { now: () => nodeClock.now(), timer };
  shim = await ShimHarness.start({ containerdAddress: '/run/containerd.sock', clock });
  mkdirSync(shim.assign.bundle, { recursive: true });
  const { id, bundle } = shim.bundle('one', ['sleep']);
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  await shim.task.start({ id });
  shim.disconnect();
  await eventually(() => checks.length === 1, 15_000, 'a check');
  checks[0]?.();
  expect(checks).toHaveLength(2);
  expect(shim.shim.sandbox.status.name).toBe('running');
  rmSync(shim.assign.bundle, { recursive: true });
  checks[1]?.();
  await shim.shim.ended;
  expect(shim.vms.last.stops).toBeGreaterThan(0);
});
