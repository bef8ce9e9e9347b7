/** Input and output of a task, from its program to its client. */
import { closeSync, constants, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FifoReader } from '../../../helpers/fifo-reader.ts';
import { IMAGE_ROOTFS, ShimHarness } from '../../../helpers/shim-harness.ts';

let shim: ShimHarness;

beforeEach(async () => {
  shim = await ShimHarness.start();
});

afterEach(async () => {
  await shim.stop();
});
describe('input and output', () => {
  test('both streams, whole and apart', async () => {
    const { id, bundle } = shim.bundle('one', ['both']);
    const [stdout = '', stderr = ''] = await shim.fifos('out', 'err');
    const [out, err] = [new FifoReader(stdout), new FifoReader(stderr)];
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS, stdout, stderr });
    await shim.task.start({ id });
    expect((await shim.task.wait({ id })).exitStatus).toBe(4);
    await Promise.all([out.ended, err.ended]);
    expect([out.text, err.text]).toEqual(['out\n', 'err\n']);
  });

  test('what was in the pipe at the exit is delivered before the exit is reported', async () => {
    const { id, bundle } = shim.bundle('one', ['burst', String(5_000_000)]);
    const [stdout = ''] = await shim.fifos('out');
    const out = new FifoReader(stdout);
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS, stdout });
    await shim.task.start({ id });
    await shim.task.wait({ id });
    // The last FIFO-ful may still be in the kernel: the end comes with it.
    await out.ended;
    expect(out.length).toBe(5_000_000);
  });

  test('an orphan that holds the pipe does not delay the exit', async () => {
    const { id, bundle } = shim.bundle('one', ['orphan']);
    const [stdout = ''] = await shim.fifos('out');
    const out = new FifoReader(stdout);
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS, stdout });
    const startedMs = performance.now();
    await shim.task.start({ id });
    expect((await shim.task.wait({ id })).exitStatus).toBe(7);
    expect(performance.now() - startedMs).toBeLessThan(1_000);
    await sleep(20);
    expect(out.text).toBe('before\n');
    out.close();
  });

  test('an unread FIFO delays the exit by a bounded time', { timeout: 30_000 }, async () => {
    const { id, bundle } = shim.bundle('one', ['burst', String(1_000_000)]);
    const [stdout = ''] = await shim.fifos('out');
    const fd = openSync(stdout, constants.O_RDONLY | constants.O_NONBLOCK);
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS, stdout });
    const startedMs = performance.now();
    await shim.task.start({ id });
    await shim.task.wait({ id });
    expect(performance.now() - startedMs).toBeGreaterThan(9_000);
    expect(performance.now() - startedMs).toBeLessThan(12_000);
    // What was written goes on to whoever comes until Delete.
    const reader = new FifoReader(stdout);
    closeSync(fd);
    await expect.poll(() => reader.length, { timeout: 5_000 }).toBe(1_000_000);
    await shim.task.delete({ id });
    await reader.ended;
  });

  test('input ends with CloseIO, not with the client', async () => {
    const { id, bundle } = shim.bundle('one', ['cat']);
    const [stdin = '', stdout = ''] = await shim.fifos('in', 'out');
    const out = new FifoReader(stdout);
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS, stdin, stdout });
    await shim.task.start({ id });
    const write = async (text: string): Promise<void> => {
      const socket = new Socket({
        fd: openSync(stdin, constants.O_WRONLY | constants.O_NONBLOCK),
        writable: true,
        readable: false,
      });
      await new Promise<void>((resolve) => socket.write(text, () => resolve()));
      socket.destroy();
    };
    await write('one ');
    await sleep(50);
    await write('two');
    await shim.task.closeIO({ id, stdin: true });
    expect((await shim.task.wait({ id })).exitStatus).toBe(0);
    await out.ended;
    expect(out.text).toBe('one two');
  });

  test('binary:// output goes to a program that says when it is ready', async () => {
    const { id, bundle } = shim.bundle('one', ['both']);
    const logger = join(shim.directory, 'logger');
    const target = join(shim.directory, 'logged');
    const script = [
      '#!/bin/sh',
      'echo "$CONTAINER_NAMESPACE/$CONTAINER_ID $1" > "$2"',
      'exec 5>&-',
      'cat <&3 >> "$2"',
      'cat <&4 >> "$2"',
      'echo end >> "$2"',
    ];
    writeFileSync(logger, script.join('\n'), { mode: 0o755 });
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS, stdout: `binary://${logger}?target=${target}` });
    await shim.task.start({ id });
    expect((await shim.task.wait({ id })).exitStatus).toBe(4);
    await shim.task.delete({ id });
    await expect.poll(() => readFileSync(target, 'utf8'), { timeout: 5_000 }).toBe('test/one target\nout\nerr\nend\n');
  });

  test('a missing logger or FIFO fails the Create by name', async () => {
    const { id, bundle } = shim.bundle('one', ['true']);
    const request = { id, bundle, rootfs: IMAGE_ROOTFS };
    await expect(shim.task.create({ ...request, stdout: '/nowhere/fifo' })).rejects.toThrow(
      'open fifo - /nowhere/fifo - ENOENT',
    );
    await expect(shim.task.create({ ...request, stdout: join(bundle, 'config.json') })).rejects.toThrow('not a FIFO');
    await expect(shim.task.create({ ...request, stdout: 'ttrpc+unix:///x' })).rejects.toThrow(
      "scheme 'ttrpc+unix' is not supported",
    );
    await expect(shim.task.create({ ...request, stdout: 'binary:///nowhere/logger?x' })).rejects.toThrow(
      'start logger - /nowhere/logger - ENOENT',
    );
    expect(shim.vms.machines).toHaveLength(0);
  });

  test('file:// output and the log file hold everything', async () => {
    const log = join(shim.directory, 'log.json');
    const { id, bundle } = shim.bundle('one', ['both'], { annotations: { 'io.tskata.log.path': log } });
    const file = join(shim.directory, 'not/there/yet/output');
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS, stdout: `file://${file}` });
    await shim.task.start({ id });
    await shim.task.wait({ id });
    await shim.task.delete({ id });
    expect(readFileSync(file, 'utf8')).toBe('out\nerr\n');
    const lines = readFileSync(log, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.map(({ stream, log: text }) => [stream, text])).toEqual([
      ['stdout', 'out\n'],
      ['stderr', 'err\n'],
    ]);
    expect(statSync(log).mode & 0o777).toBe(0o600);
  });
});
