/** What the events of a container say, field by field. */
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import {
  TaskCreate,
  TaskDelete,
  TaskExecAdded,
  TaskExecStarted,
  TaskExit,
  TaskOOM,
  TaskPaused,
  TaskResumed,
  TaskStart,
} from '../../../../shim/task/generated/events.ts';
import { FakeGuest } from '../../../helpers/fake-guest.ts';
import { IMAGE_ROOTFS, ShimHarness } from '../../../helpers/shim-harness.ts';

let shim: ShimHarness;

beforeEach(async () => {
  shim = await ShimHarness.start();
});

afterEach(async () => {
  await shim.stop();
});

/** The event of a topic, decoded; its url must name that type. */
function told(topic: string, type: { readonly typeName: string; decode(bytes: Uint8Array): unknown }): unknown {
  const { event } = shim.events.find((each) => each.topic === topic) ?? {};
  expect(event?.typeUrl).toBe(type.typeName);
  return type.decode(event?.value as Uint8Array);
}

const isRecent = { seconds: expect.toSatisfy((value: bigint) => Math.abs(Number(value) - Date.now() / 1000) < 60) };

test('of a container and an exec from Create to Delete', async () => {
  const { id, bundle } = shim.bundle('one', ['sleep']);
  const stdout = `file://${shim.directory}/out`;
  const { pid } = await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS, stdout });
  await shim.task.start({ id });
  const spec = { value: Buffer.from(JSON.stringify({ args: ['exit', '3'], cwd: '/' })) };
  await shim.task.exec({ id, execId: 'e', spec });
  const exec = await shim.task.start({ id, execId: 'e' });
  await shim.task.wait({ id, execId: 'e' });
  const execExit = { containerId: id, pid: exec.pid, exitStatus: 3, exitedAt: isRecent };
  expect(told('/tasks/exit', TaskExit)).toMatchObject({ ...execExit, id: 'e' });
  await shim.task.delete({ id, execId: 'e' });
  expect(told('/tasks/delete', TaskDelete)).toMatchObject({ ...execExit, id: 'e' });
  await shim.task.pause({ id });
  await shim.task.resume({ id });
  expect(told('/tasks/create', TaskCreate)).toMatchObject({
    containerId: id,
    bundle,
    rootfs: IMAGE_ROOTFS,
    io: { stdin: '', stdout, stderr: '', terminal: false },
    pid,
  });
  expect(told('/tasks/start', TaskStart)).toEqual({ containerId: id, pid });
  expect(told('/tasks/exec-added', TaskExecAdded)).toEqual({ containerId: id, execId: 'e' });
  expect(told('/tasks/exec-started', TaskExecStarted)).toEqual({ containerId: id, execId: 'e', pid: exec.pid });
  expect(told('/tasks/paused', TaskPaused)).toEqual({ containerId: id });
  expect(told('/tasks/resumed', TaskResumed)).toEqual({ containerId: id });
  shim.events.length = 0;
  await shim.task.kill({ id, signal: 9 });
  await shim.task.wait({ id });
  await shim.task.delete({ id });
  const exit = { containerId: id, pid, exitStatus: 137, exitedAt: isRecent };
  expect(told('/tasks/exit', TaskExit)).toMatchObject({ ...exit, id });
  expect(told('/tasks/delete', TaskDelete)).toMatchObject({ ...exit, id: '' });
});

test('of memory that ran out', async () => {
  const { id, bundle } = shim.bundle('one', ['oom']);
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  await shim.task.start({ id });
  await shim.task.wait({ id });
  expect(told('/tasks/oom', TaskOOM)).toEqual({ containerId: id });
});

test('of memory that runs out again: each rise of the count once, those of a second together, none after the end', async () => {
  let sequence = 0n;
  let tell: ((kills: bigint) => void) | undefined;
  shim.vms.makeGuest = () =>
    new FakeGuest({
      nextEvents: () =>
        new Promise((resolve) => {
          tell = (kills) => resolve({ events: [{ sequence: ++sequence, containerId: 'one', oom: { kills } }] });
        }),
    });
  const { id, bundle } = shim.bundle('one', ['sleep']);
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  await shim.task.start({ id });
  const tellGuest = async (kills: bigint) => {
    await vi.waitUntil(() => tell !== undefined);
    tell?.(kills);
    tell = undefined;
    await vi.waitUntil(() => tell !== undefined);
  };
  const count = () => shim.topics.filter((topic) => topic === 'oom').length;
  await tellGuest(1n);
  expect(count()).toBe(1);
  await tellGuest(2n);
  expect(count()).toBe(1);
  await setTimeout(1_100);
  await tellGuest(2n);
  expect(count()).toBe(1);
  await tellGuest(3n);
  expect(count()).toBe(2);
  await shim.task.kill({ id, signal: 9 });
  await shim.task.wait({ id });
  await setTimeout(1_100);
  await tellGuest(4n);
  expect(count()).toBe(2);
});
