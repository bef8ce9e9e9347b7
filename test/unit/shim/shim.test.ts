/** The end of the machine, and of the shim. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Code } from '../../../agent/protocol/errors.ts';
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
    await expect(shim.task.stats({ id })).rejects.toMatchObject({ code: Code.FailedPrecondition });
    expect(shim.record(id)).toMatchObject({ exit: { status: 137, reason: expect.stringContaining('last words') } });
    await shim.task.delete({ id, execId: 'e' });
    await shim.task.delete({ id });
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

test('a detached container ends its shim, and its exit outlives it', async () => {
  const { id, bundle } = shim.bundle('one', ['exit', '5'], { annotations: { 'io.tskata.detached': 'keep' } });
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  await shim.task.start({ id });
  await shim.shim.ended;
  expect(shim.record(id)).toMatchObject({ status: 'stopped', exit: { status: 5 } });
});
