import { closeSync, constants, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Code } from '../../../agent/protocol/errors.ts';
import { Metrics } from '../../../shim/task/generated/cgroups.ts';
import { TaskExit } from '../../../shim/task/generated/events.ts';
import { IMAGE_ROOTFS, ShimHarness } from '../../helpers/shim-harness.ts';

let shim: ShimHarness;

beforeEach(async () => {
  shim = await ShimHarness.start();
});

afterEach(async () => {
  await shim.stop();
});

/** A client's read end of a FIFO. */
class FifoReader {
  readonly ended: Promise<void>;
  #bytes = Buffer.alloc(0);
  readonly #socket: Socket;

  constructor(path: string) {
    this.#socket = new Socket({
      fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK),
      readable: true,
      writable: false,
    });
    this.#socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
    });
    this.ended = new Promise((resolve) => {
      this.#socket.on('close', () => resolve());
    });
  }

  get text(): string {
    return this.#bytes.toString();
  }

  get length(): number {
    return this.#bytes.length;
  }

  close(): void {
    this.#socket.destroy();
  }
}

describe('a container from Create to Shutdown', () => {
  test('runs, is waited for and goes', async () => {
    const { id, bundle } = shim.bundle('one', ['echo', 'hi']);
    const [stdout = '', stderr = ''] = await shim.fifos('out', 'err');
    const out = new FifoReader(stdout);
    const { pid } = await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS, stdout, stderr });
    expect(pid).toBeGreaterThan(0);
    expect(await shim.task.state({ id })).toMatchObject({ status: 1, bundle, stdout, pid });
    const waiting = shim.task.wait({ id });
    expect(await shim.task.start({ id })).toEqual({ pid });
    expect(await waiting).toMatchObject({ exitStatus: 0 });
    expect((await waiting).exitedAt?.seconds).toBeGreaterThan(1_600_000_000n);
    await out.ended;
    expect(out.text).toBe('hi\n');
    expect(await shim.task.state({ id })).toMatchObject({ status: 3, exitStatus: 0 });
    expect(await shim.task.delete({ id })).toMatchObject({ exitStatus: 0, pid });
    expect(shim.topics).toEqual(['create', 'start', 'exit', 'delete']);
    await expect(shim.task.delete({ id })).rejects.toMatchObject({ code: Code.NotFound });
    await shim.task.shutdown({ id });
    await shim.shim.ended;
    expect(shim.vms.last.stops).toBeGreaterThan(0);
    expect(shim.record(id)).toMatchObject({ status: 'stopped', exit: { status: 0 } });
  });

  test('gets its storage and its configuration by allow-list', async () => {
    const volume = join(shim.directory, 'bundle-one');
    const { id, bundle } = shim.bundle('one', ['true'], {
      mounts: [
        { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid'] },
        { destination: '/data', type: 'bind', source: volume, options: ['rbind', 'ro'] },
        { destination: '/etc/config.json', type: 'bind', source: join(volume, 'config.json'), options: ['bind'] },
      ],
    });
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
    const vm = shim.vms.last;
    expect(vm.config.disks).toEqual([
      { slot: 0, path: '/images/layer0.squashfs', readOnly: true, ephemeral: false },
      { slot: 1, path: '/images/layer1.squashfs', readOnly: true, ephemeral: false },
      { slot: 8, path: '/images/scratch.ext4', readOnly: false, ephemeral: true },
    ]);
    expect(vm.config.shares).toHaveLength(1);
    const request = vm.guest.containers.get(id)?.request;
    expect(request?.rootfsId).toBe('c0-root');
    expect(request?.storages.map((storage) => storage.id)).toEqual([
      'c0-disk0',
      'c0-disk1',
      'c0-disk2',
      'c0-root',
      'c0-vol1',
      'c0-vol2',
    ]);
    expect(request?.storages[3]?.overlay).toEqual({ lowerIds: ['c0-disk0', 'c0-disk1'], upperId: 'c0-disk2' });
    expect(request?.storages[4]?.share).toEqual({ tag: 'tskata', subpath: '1', readOnly: true });
    expect(request?.spec?.mounts[1]).toMatchObject({
      destination: '/data',
      type: 'bind',
      source: '',
      storageId: 'c0-vol1',
      storagePath: 'd',
      isFile: false,
    });
    expect(request?.spec?.mounts[2]).toMatchObject({ storageId: 'c0-vol2', storagePath: 'f', isFile: true });
    expect(JSON.stringify(request, (_, value) => (typeof value === 'bigint' ? String(value) : value))).not.toContain(
      shim.directory,
    );
    expect(shim.mounts.map(({ what, options }) => `${what} ${options.join(',')}`)).toEqual([
      'mount bind,ro,nosuid,nodev',
      'mount rbind,rprivate,ro,nodev',
      'mount bind,rprivate,nodev',
    ]);
    await shim.task.kill({ id, signal: 9 });
    await shim.task.wait({ id });
    await shim.task.delete({ id });
    expect(shim.mounts.filter((call) => call.what === 'unmount')).toHaveLength(2);
  });

  test('takes an empty or bind source for a directory, never for a disk', async () => {
    const { id, bundle } = shim.bundle('one', ['true']);
    await shim.task.create({ id, bundle, rootfs: [{ type: 'bind', source: bundle, options: ['rbind', 'ro'] }] });
    expect(shim.vms.last.config.disks).toEqual([]);
    expect(shim.vms.last.guest.containers.get(id)?.request.storages[0]).toMatchObject({
      share: { subpath: '1/d', readOnly: true },
    });
  });
});

describe('refusals', () => {
  test('say where, leave nothing, and free the id', async () => {
    const bad = shim.bundle('one', ['true'], { mounts: [{ destination: '/x', type: 'nfs', source: 'server:/x' }] });
    await expect(shim.task.create({ id: bad.id, bundle: bad.bundle, rootfs: IMAGE_ROOTFS })).rejects.toMatchObject({
      code: Code.InvalidArgument,
      message: expect.stringContaining('mounts[0].type'),
    });
    expect(shim.vms.machines).toHaveLength(0);
    const good = shim.bundle('one', ['true']);
    await shim.task.create({ id: good.id, bundle: good.bundle, rootfs: IMAGE_ROOTFS });
    await expect(shim.task.create({ id: good.id, bundle: good.bundle })).rejects.toMatchObject({
      code: Code.AlreadyExists,
    });
    expect(shim.record('one')).toMatchObject({ status: 'created' });
  });

  test('a failed boot and a failed create end the machine', async () => {
    const { id, bundle } = shim.bundle('one', ['true']);
    shim.vms.failure = new Error('no such kernel');
    await expect(shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS })).rejects.toThrow(
      'boot the virtual machine: no such kernel',
    );
    shim.vms.failure = undefined;
    const { FakeGuest } = await import('../../helpers/fake-guest.ts');
    shim.vms.makeGuest = () =>
      new FakeGuest({
        createContainer: () => {
          throw new Error('mount overlay: EINVAL');
        },
      });
    await expect(shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS })).rejects.toThrow(
      'set up the container in the guest: mount overlay: EINVAL',
    );
    expect(shim.vms.last.stops).toBeGreaterThan(0);
    shim.vms.makeGuest = () => new FakeGuest();
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
    expect(shim.topics).toEqual(['create']);
  });

  test('a missing program fails the start at once, without an exit event', async () => {
    const { id, bundle } = shim.bundle('one', ['nope']);
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
    const waiting = shim.task.wait({ id });
    await expect(shim.task.start({ id })).rejects.toMatchObject({
      code: Code.NotFound,
      message: expect.stringContaining('exec: "nope": executable file not found in $PATH'),
    });
    expect((await waiting).exitStatus).toBe(127);
    await shim.task.delete({ id });
    expect(shim.topics).toEqual(['create', 'delete']);
  });

  test('answer with the codes that clients map', async () => {
    const { id, bundle } = shim.bundle('one', ['sleep']);
    await expect(shim.task.state({ id })).rejects.toMatchObject({ code: Code.NotFound });
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
    await shim.task.start({ id });
    await expect(shim.task.start({ id })).rejects.toMatchObject({ code: Code.FailedPrecondition });
    await expect(shim.task.delete({ id })).rejects.toMatchObject({ code: Code.FailedPrecondition });
    await expect(shim.task.checkpoint({ id })).rejects.toMatchObject({ code: Code.Unimplemented });
    await expect(shim.task.resume({ id })).rejects.toMatchObject({ code: Code.FailedPrecondition });
    await shim.task.kill({ id, signal: 15 });
    expect((await shim.task.wait({ id })).exitStatus).toBe(143);
    await expect(shim.task.kill({ id, signal: 15 })).rejects.toMatchObject({
      code: Code.NotFound,
      message: 'process already finished',
    });
  });
});

test('a container that was never started can be killed, or deleted; a second delete finds nothing', async () => {
  const first = shim.bundle('one', ['sleep']);
  const second = shim.bundle('two', ['sleep']);
  for (const { id, bundle } of [first, second])
    await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS.slice(0, 1) });
  await shim.task.kill({ id: 'one', signal: 9 });
  expect((await shim.task.wait({ id: 'one' })).exitStatus).toBe(137);
  await expect(shim.task.start({ id: 'one' })).rejects.toMatchObject({ code: Code.FailedPrecondition });
  const waiting = shim.task.wait({ id: 'two' });
  for (const id of ['one', 'two']) expect((await shim.task.delete({ id })).exitStatus).toBe(137);
  expect((await waiting).exitStatus).toBe(137);
  for (const id of ['one', 'two'])
    await expect(shim.task.delete({ id })).rejects.toMatchObject({ code: Code.NotFound });
  expect(shim.topics).toEqual(['create', 'create', 'exit', 'delete', 'exit', 'delete']);
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
    await expect(shim.task.start({ id, execId: 'e2' })).rejects.toMatchObject({ code: Code.NotFound });
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
    closeSync(fd);
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
    expect(shim.vms.machines).toHaveLength(0);
  });

  test('file:// output and the log file hold everything', async () => {
    const log = join(shim.directory, 'log.json');
    const { id, bundle } = shim.bundle('one', ['both'], { annotations: { 'io.tskata.log.path': log } });
    const file = join(shim.directory, 'output');
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

test('an OOM is told before the exit', async () => {
  const { id, bundle } = shim.bundle('one', ['oom']);
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  await shim.task.start({ id });
  await shim.task.wait({ id });
  expect(shim.topics).toEqual(['create', 'start', 'oom', 'exit']);
});

test('a detached container ends its shim, and its exit outlives it', async () => {
  const { id, bundle } = shim.bundle('one', ['exit', '5'], { annotations: { 'io.tskata.detached': 'keep' } });
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  await shim.task.start({ id });
  await shim.shim.ended;
  expect(shim.record(id)).toMatchObject({ status: 'stopped', exit: { status: 5 } });
});
