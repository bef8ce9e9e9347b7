/** What a bundle can make a shim do by annotations: a tenant's, nothing that belongs to the command. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import { IMAGE_ROOTFS, ShimHarness } from '../../helpers/shim-harness.ts';

let shim: ShimHarness | undefined;
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tskata-hostile-'));
});
afterEach(async () => {
  await shim?.stop();
  shim = undefined;
  rmSync(directory, { recursive: true, force: true });
});

test.each([
  ['io.tskata.log.path', 'written'],
  ['io.tskata.detached', 'remove'],
  ['io.tskata.abandoned', 'remove'],
  ['io.tskata.network', 'user'],
  ['io.tskata.publish', '[{"hostPort":1,"containerPort":1}]'],
  ['io.tskata.dns', '["1.1.1.1"]'],
  ['io.tskata.name', 'other'],
  ['io.tskata.image', 'sha256:0'],
  ['io.tskata.sandbox.vcpus', '64'],
])("a pod's %s is refused before anything is made", async (name, value) => {
  shim = await ShimHarness.start({ containerdAddress: '/run/containerd.sock' });
  const path = join(directory, 'written');
  const annotations = { [name]: value === 'written' ? path : value };
  const { id, bundle } = shim.bundle('one', ['both'], { annotations });
  await expect(shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS })).rejects.toMatchObject({
    code: Code.InvalidArgument,
    message: expect.stringContaining(`annotations['${name}']: `),
  });
  expect(existsSync(path)).toBe(false);
  expect(shim.vms.machines).toEqual([]);
  expect(shim.mounts).toEqual([]);
  expect(shim.topics).toEqual([]);
});

test('what is enabled sizes the machine', async () => {
  shim = await ShimHarness.start({
    containerdAddress: '/run/containerd.sock',
    enabledAnnotations: ['io.tskata.sandbox.memory'],
  });
  const { id, bundle } = shim.bundle('one', ['exit', '0'], { annotations: { 'io.tskata.sandbox.memory': '777' } });
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  expect(shim.vms.last.config).toMatchObject({ memoryMib: 777 });
});

test('a broken configuration refuses every Create with its reason, and the shim still ends in order', async () => {
  const fact = 'read /etc/tskata/config.toml: machin: unknown key; did you mean "machine"?';
  shim = await ShimHarness.start({ refusal: new TskataError(Code.InvalidArgument, fact) });
  const { id, bundle } = shim.bundle('one', ['exit', '0']);
  for (let count = 0; count < 2; count++) {
    await expect(shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS })).rejects.toMatchObject({
      code: Code.InvalidArgument,
      message: fact,
    });
  }
  expect(shim.vms.machines).toEqual([]);
  await shim.task.shutdown({ id, now: true });
  await shim.shim.ended;
});
