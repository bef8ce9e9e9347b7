/** The end of the machine, and of the shim. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Code } from '../../../agent/protocol/errors.ts';
import { noNetwork } from '../../../runtime/sandbox/network.ts';
import { IMAGE_ROOTFS, ShimHarness } from '../../helpers/shim-harness.ts';

let shim: ShimHarness;

beforeEach(async () => {
  shim = await ShimHarness.start();
});

afterEach(async () => {
  await shim.stop();
});
describe('the machine ends', () => {
  test('every process exits with 137 within a second, and everything answers until Delete', async () => {
    const { id, bundle } = shim.bundle('one', ['sleep']);
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
    await shim.task.start({ id });
    await shim.task.exec({
      id,
      execId: 'e',
      spec: { value: Buffer.from(JSON.stringify({ args: ['sleep'], cwd: '/' })) },
    });
    await shim.task.start({ id, execId: 'e' });
    const waits = [shim.task.wait({ id }), shim.task.wait({ id, execId: 'e' })];
    const endedMs = performance.now();
    shim.vms.last.end('killed', ['last words']);
    for (const wait of waits) expect((await wait).exitStatus).toBe(137);
    expect(performance.now() - endedMs).toBeLessThan(1_000);
    expect(shim.topics.slice(-2)).toEqual(['exit', 'exit']);
    expect(await shim.task.state({ id })).toMatchObject({ status: 3, exitStatus: 137 });
    await expect(shim.task.stats({ id })).rejects.toMatchObject({ code: Code.Unavailable });
    expect(shim.record(id)).toMatchObject({ exit: { status: 137, reason: expect.stringContaining('last words') } });
    await shim.task.delete({ id, execId: 'e' });
    await shim.task.delete({ id });
  });

  test('a process that had ended keeps its exit, though its output has not left yet', async () => {
    const { id, bundle } = shim.bundle('one', ['burst', String(1_000_000)]);
    const [stdout = ''] = await shim.fifos('out');
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS, stdout });
    await shim.task.start({ id });
    await sleep(300);
    shim.vms.last.end('killed', []);
    expect((await shim.task.wait({ id })).exitStatus).toBe(0);
  });

  test('during Create, the error carries the last words', async () => {
    const { FakeGuest } = await import('../../helpers/fake-guest.ts');
    shim.vms.makeGuest = () => new FakeGuest({ createContainer: () => new Promise(() => undefined) });
    const { id, bundle } = shim.bundle('one', ['true']);
    const creating = shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
    const outcome = expect(creating).rejects.toThrow(/panicked.*Kernel panic/);
    while (shim.vms.machines.length === 0 || !shim.vms.last.guest.calls.includes('createContainer')) await sleep(5);
    shim.vms.last.end('panicked', ['Kernel panic - not syncing']);
    await outcome;
  });
});

test('a network that does not come up fails the Create and ends the machine; the next Create has another', async () => {
  const { id, bundle } = shim.bundle('one', ['sleep'], { annotations: { 'io.tskata.network': 'user' } });
  shim.network = { ...noNetwork, connect: () => Promise.reject(new Error('the user network has ended')) };
  const create = { id, bundle, rootfs: IMAGE_ROOTFS };
  await expect(shim.task.create(create, { timeoutMs: 5_000 })).rejects.toThrow('the user network has ended');
  await expect(shim.vms.last.ended).resolves.toMatchObject({ cause: 'asked' });
  shim.network = noNetwork;
  await shim.task.create(create);
  expect(shim.vms.machines).toHaveLength(2);
  expect((await shim.task.state({ id })).status).toBe(1);
});

describe('a record that cannot be written', () => {
  const full = (): never => {
    throw new Error('ENOSPC: no space left on device');
  };

  test('costs no event and no exit', async () => {
    const { id, bundle } = shim.bundle('one', ['exit', '5']);
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
    const write = vi.spyOn(shim.store, 'write').mockImplementation(full);
    await shim.task.start({ id });
    expect((await shim.task.wait({ id })).exitStatus).toBe(5);
    expect(shim.topics).toEqual(['create', 'start', 'exit']);
    expect(write).toHaveBeenCalled();
  });

  test('fails a Create before anything is made, and frees the id', async () => {
    const { id, bundle } = shim.bundle('one', ['true']);
    const write = vi.spyOn(shim.store, 'write').mockImplementation(full);
    await expect(shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS })).rejects.toThrow('no space left');
    expect(shim.vms.machines).toHaveLength(0);
    write.mockRestore();
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  });
});

test('a detached container ends its shim, and its exit outlives it', async () => {
  const { id, bundle } = shim.bundle('one', ['exit', '5'], { annotations: { 'io.tskata.detached': 'keep' } });
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  await shim.task.start({ id });
  await shim.shim.ended;
  expect(shim.record(id)).toMatchObject({ status: 'stopped', exit: { status: 5 } });
});
