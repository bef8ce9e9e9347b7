/** Create, Start, Kill, Delete and what they refuse. */
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Code } from '../../../../agent/protocol/errors.ts';
import { Options } from '../../../../runtime/helper/generated/runtime-options.ts';
import { FifoReader } from '../../../helpers/fifo-reader.ts';
import { IMAGE_ROOTFS, ShimHarness } from '../../../helpers/shim-harness.ts';

let shim: ShimHarness;

beforeEach(async () => {
  shim = await ShimHarness.start();
});

afterEach(async () => {
  await shim.stop();
});
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
    const { FakeGuest } = await import('../../../helpers/fake-guest.ts');
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
      code: Code.Unknown,
      message: expect.stringContaining('exec: "nope": executable file not found in $PATH'),
    });
    expect((await waiting).exitStatus).toBe(127);
    await shim.task.delete({ id });
    expect(shim.topics).toEqual(['create', 'delete']);
  });

  test('a configuration that is named after the start of the shim is refused, and its own is not', async () => {
    const { id, bundle } = shim.bundle('one', ['sleep']);
    const options = (configPath: string) => ({
      typeUrl: Options.typeName,
      value: Options.encode({ configPath }),
    });
    const create = (path: string) => shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS, options: options(path) });
    await expect(create('/etc/other.toml')).rejects.toThrow(
      "create container one: ConfigPath /etc/other.toml came after the start of the shim, which goes by the host's own",
    );
    expect(shim.vms.machines).toEqual([]);
    await create('');
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
