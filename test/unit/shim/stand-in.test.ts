/** The host's number of a container: a stand-in that lives as long as the container does, and is listed until Delete. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Code } from '../../../agent/protocol/errors.ts';
import { IMAGE_ROOTFS, ShimHarness } from '../../helpers/shim-harness.ts';

let shim: ShimHarness;

beforeEach(async () => {
  shim = await ShimHarness.start();
});

afterEach(async () => {
  await shim.stop();
});

/** A created container and its number. */
async function created(id: string, ...args: string[]): Promise<number> {
  const { bundle } = shim.bundle(id, args);
  return (await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS.slice(0, 1) })).pid;
}

const pids = async (id: string): Promise<(number | undefined)[]> =>
  (await shim.task.pids({ id })).processes.map((process) => process.pid);

test('each container has a number of its own, the same in every answer and record', async () => {
  const pid = await created('one', 'sleep');
  const other = await created('two', 'sleep');
  expect(pid).not.toBe(other);
  expect((await shim.task.start({ id: 'one' })).pid).toBe(pid);
  expect(await shim.task.state({ id: 'one' })).toMatchObject({ pid });
  expect(await shim.task.connect({ id: 'one' })).toMatchObject({ taskPid: pid, shimPid: process.pid });
  expect(shim.record('one')).toMatchObject({ pid, qemu: { pid: process.pid } });
  expect(await pids('one')).toEqual([pid]);
});

test('it ends with its container, and is gone when the exit is told', async () => {
  const pid = await created('one', 'sleep');
  await created('two', 'sleep');
  await shim.task.start({ id: 'one' });
  const waiting = shim.task.wait({ id: 'one' }).then(() => [...shim.standIns.keys()]);
  await shim.task.kill({ id: 'one', signal: 9 });
  expect(await waiting).toEqual(['two']);
  // containerd takes a shim that lists nobody for a leaked one, also while an exit waits to be fetched.
  expect(await pids('one')).toEqual([pid]);
  await shim.task.delete({ id: 'one' });
  await expect(shim.task.pids({ id: 'one' })).rejects.toMatchObject({ code: Code.NotFound });
  await shim.task.delete({ id: 'two' });
  expect(shim.standIns.size).toBe(0);
});

test('whoever kills it kills the container', async () => {
  await created('one', 'sleep');
  await shim.task.start({ id: 'one' });
  shim.standIns.get('one')?.();
  expect((await shim.task.wait({ id: 'one' })).exitStatus).toBe(137);
});

test('a start that fails and a machine that ends take it along', async () => {
  await created('one', 'nope');
  await created('two', 'sleep');
  await expect(shim.task.start({ id: 'one' })).rejects.toMatchObject({ code: Code.Unknown });
  expect([...shim.standIns.keys()]).toEqual(['two']);
  const waiting = shim.task.wait({ id: 'two' });
  shim.vms.last.end('killed', []);
  await waiting;
  await shim.task.delete({ id: 'two' });
  expect(shim.standIns.size).toBe(0);
});

test('a create that fails after it leaves none', async () => {
  const { FakeGuest } = await import('../../helpers/fake-guest.ts');
  shim.vms.makeGuest = () => new FakeGuest({ createContainer: () => Promise.reject(new Error('no')) });
  await expect(created('one', 'sleep')).rejects.toThrow(/set up the container in the guest/);
  expect(shim.standIns.size).toBe(0);
});

test('an exec has a number above all processes, and none before its start', async () => {
  const pid = await created('one', 'sleep');
  await shim.task.start({ id: 'one' });
  const spec = { value: Buffer.from(JSON.stringify({ args: ['sleep'], cwd: '/' })) };
  for (const execId of ['e1', 'e2']) await shim.task.exec({ id: 'one', execId, spec });
  expect(await pids('one')).toEqual([pid]);
  const first = await shim.task.start({ id: 'one', execId: 'e1' });
  const second = await shim.task.start({ id: 'one', execId: 'e2' });
  expect(Math.min(first.pid, second.pid)).toBeGreaterThan(4_194_304);
  expect(await pids('one')).toEqual([pid, first.pid, second.pid]);
});
