/** What the host has given up in the guest, and how many processes it takes on. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Code } from '../../../../agent/protocol/errors.ts';
import { MAX_PROCESSES } from '../../../../agent/protocol/limits.ts';
import type { FakeGuest } from '../../../helpers/fake-guest.ts';
import { IMAGE_ROOTFS, ShimHarness } from '../../../helpers/shim-harness.ts';

let shim: ShimHarness;
let guest: FakeGuest;
const rootfs = IMAGE_ROOTFS;
const unanswered = { code: Code.DeadlineExceeded };
const exec = (args: readonly string[]) => ({ value: Buffer.from(JSON.stringify({ args, cwd: '/' })) });

/** A sandbox whose container `first` runs. */
beforeEach(async () => {
  shim = await ShimHarness.start();
  await shim.task.create({ ...shim.bundle('first', ['sleep']), rootfs });
  await shim.task.start({ id: 'first' });
  guest = shim.vms.last.guest;
});

afterEach(async () => {
  await shim.stop();
});

describe('what the guest does although its answer does not come in time', () => {
  test('Create: the container is taken back, and its id is free', async () => {
    const { id, bundle } = shim.bundle('late', ['sleep']);
    guest.lost.add('createContainer');
    await expect(shim.task.create({ id, bundle, rootfs })).rejects.toMatchObject(unanswered);
    await shim.task.create({ id, bundle, rootfs });
    expect([...guest.containers.keys()]).toEqual(['first', 'late']);
    // Nothing comes later that could concern the new one.
    expect(guest.calls.filter((name) => name === 'deleteContainer')).toHaveLength(1);
    expect(guest.calls).not.toContain('signalProcess');
  });

  test('Start of a container: it is ended, and can be deleted', async () => {
    const { id, bundle } = shim.bundle('late', ['sleep']);
    await shim.task.create({ id, bundle, rootfs });
    guest.lost.add('startContainer');
    await expect(shim.task.start({ id })).rejects.toMatchObject(unanswered);
    expect(guest.find(id).signals).toEqual([9]);
    expect(await shim.task.state({ id })).toMatchObject({ status: 3 });
    await shim.task.delete({ id });
    expect([...guest.containers.keys()]).toEqual(['first']);
  });

  test('Start of an exec: it is ended and forgotten', async () => {
    await shim.task.exec({ id: 'first', execId: 'e', spec: exec(['sleep']) });
    guest.lost.add('execProcess');
    await expect(shim.task.start({ id: 'first', execId: 'e' })).rejects.toMatchObject(unanswered);
    expect(guest.containers.get('first')?.execs.size).toBe(0);
    await shim.task.delete({ id: 'first', execId: 'e' });
  });

  test('a container that runs although nobody knows of its start is ended before its deletion', async () => {
    const { id, bundle } = shim.bundle('late', ['sleep']);
    await shim.task.create({ id, bundle, rootfs });
    // Started by nobody that the host knows of.
    guest.find(id).phase = 'running';
    await shim.task.delete({ id });
    expect([...guest.containers.keys()]).toEqual(['first']);
  });
});

test('the process after the last one that a sandbox takes is refused by name, and the next when one has ended', async () => {
  for (let count = 1; count < MAX_PROCESSES; count++) {
    await shim.task.exec({ id: 'first', execId: `e${count}`, spec: exec(['sleep']) });
    await shim.task.start({ id: 'first', execId: `e${count}` });
  }
  const refused = { code: Code.ResourceExhausted, message: expect.stringContaining('1024 containers and execs') };
  const more = shim.bundle('more', ['sleep']);
  await expect(shim.task.exec({ id: 'first', execId: 'more', spec: exec(['true']) })).rejects.toMatchObject(refused);
  await expect(shim.task.create({ ...more, rootfs })).rejects.toMatchObject(refused);
  // All of them are waited for, and there is room for other calls.
  await shim.task.stats({ id: 'first' });
  await shim.task.kill({ id: 'first', execId: 'e1', signal: 9 });
  expect((await shim.task.wait({ id: 'first', execId: 'e1' })).exitStatus).toBe(137);
  await shim.task.exec({ id: 'first', execId: 'more', spec: exec(['true']) });
});
