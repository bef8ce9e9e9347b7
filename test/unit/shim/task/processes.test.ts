/** Execs of a container. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Code } from '../../../../agent/protocol/errors.ts';
import { TaskExit } from '../../../../shim/task/generated/events.ts';
import { IMAGE_ROOTFS, ShimHarness } from '../../../helpers/shim-harness.ts';

let shim: ShimHarness;

beforeEach(async () => {
  shim = await ShimHarness.start();
});

afterEach(async () => {
  await shim.stop();
});
describe('execs', () => {
  test('are registered, started, waited for and forgotten', async () => {
    const { id, bundle } = shim.bundle('one', ['sleep']);
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
    await shim.task.start({ id });
    const spec = (args: readonly string[]) => ({
      typeUrl: 'x',
      value: Buffer.from(JSON.stringify({ args, cwd: '/' })),
    });
    await shim.task.exec({ id, execId: 'e1', spec: spec(['exit', '3']) });
    await expect(shim.task.exec({ id, execId: 'e1', spec: spec(['true']) })).rejects.toMatchObject({
      code: Code.AlreadyExists,
    });
    expect(await shim.task.state({ id, execId: 'e1' })).toMatchObject({ status: 1, pid: 0, execId: 'e1' });
    const { pid } = await shim.task.start({ id, execId: 'e1' });
    expect(pid).toBeGreaterThan(4_194_304);
    expect((await shim.task.wait({ id, execId: 'e1' })).exitStatus).toBe(3);
    await shim.task.exec({ id, execId: 'e2', spec: spec(['nope']) });
    await expect(shim.task.start({ id, execId: 'e2' })).rejects.toMatchObject({ code: Code.Unknown });
    expect((await shim.task.delete({ id, execId: 'e2' })).exitStatus).toBe(127);
    expect((await shim.task.delete({ id, execId: 'e1' })).exitStatus).toBe(3);
    await expect(shim.task.state({ id, execId: 'e1' })).rejects.toMatchObject({ code: Code.NotFound });
    expect((await shim.task.pids({ id })).processes.length).toBe(1);
    expect(shim.topics).toEqual([
      'create',
      'start',
      'exec-added',
      'exec-started',
      'exit',
      'exec-added',
      'delete',
      'delete',
    ]);
    await shim.task.kill({ id, signal: 9 });
    await shim.task.wait({ id });
    await shim.task.exec({ id, execId: 'late', spec: spec(['true']) }).then(
      () => expect.unreachable(),
      (error) => expect(error.code).toBe(Code.FailedPrecondition),
    );
  });

  test('one that is deleted before its start answers whoever waits for it, without an exit', async () => {
    const { id, bundle } = shim.bundle('one', ['sleep']);
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
    await shim.task.start({ id });
    const value = Buffer.from(JSON.stringify({ args: ['true'], cwd: '/' }));
    await shim.task.exec({ id, execId: 'e', spec: { value } });
    await expect(shim.task.kill({ id, execId: 'e', signal: 9 })).rejects.toMatchObject({
      code: Code.FailedPrecondition,
    });
    const waiting = shim.task.wait({ id, execId: 'e' });
    expect((await shim.task.delete({ id, execId: 'e' })).exitStatus).toBe(0);
    expect((await waiting).exitStatus).toBe(0);
    await expect(shim.task.start({ id, execId: 'e' })).rejects.toMatchObject({ code: Code.NotFound });
    await expect(shim.task.delete({ id, execId: 'e' })).rejects.toMatchObject({ code: Code.NotFound });
    expect(shim.topics).toEqual(['create', 'start', 'exec-added', 'delete']);
  });

  test('a size is told to who has a terminal, and is nothing to who has none', async () => {
    const plain = shim.bundle('plain', ['sleep']);
    const screen = shim.bundle('screen', ['sleep'], { terminal: true });
    for (const { id, bundle } of [plain, screen]) {
      await shim.task.create({ id, bundle, rootfs: id === 'plain' ? IMAGE_ROOTFS : [] });
      await shim.task.start({ id });
    }
    const { calls } = shim.vms.last.guest;
    await shim.task.resizePty({ id: 'plain', width: 80, height: 24 });
    expect(calls).not.toContain('resizeTerminal');
    await shim.task.resizePty({ id: 'screen', width: 80, height: 24 });
    expect(calls.filter((name) => name === 'resizeTerminal')).toHaveLength(1);
    const value = Buffer.from(JSON.stringify({ args: ['sleep'], cwd: '/' }));
    await shim.task.exec({ id: 'screen', execId: 'e', spec: { value } });
    await shim.task.start({ id: 'screen', execId: 'e' });
    await shim.task.resizePty({ id: 'screen', execId: 'e', width: 80, height: 24 });
    expect(calls.filter((name) => name === 'resizeTerminal')).toHaveLength(1);
  });

  test('no exit before its start, 300 times', async () => {
    const { id, bundle } = shim.bundle('one', ['sleep']);
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
    await shim.task.start({ id });
    const value = Buffer.from(JSON.stringify({ args: ['true'], cwd: '/' }));
    await Promise.all(
      Array.from({ length: 300 }, async (_, index) => {
        const execId = `e${index}`;
        await shim.task.exec({ id, execId, spec: { value } });
        await shim.task.start({ id, execId });
        await shim.task.wait({ id, execId });
        await shim.task.delete({ id, execId });
      }),
    );
    const order = new Map<string, string[]>();
    for (const { topic, event } of shim.events) {
      if (!topic.includes('exec-started') && !topic.endsWith('/exit')) continue;
      const execId = TaskExit.decode(event.value as Uint8Array).id;
      order.set(execId, [...(order.get(execId) ?? []), topic]);
    }
    expect(order.size).toBe(300);
    for (const topics of order.values()) expect(topics).toEqual(['/tasks/exec-started', '/tasks/exit']);
  });
});
