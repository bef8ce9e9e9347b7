/** One booted machine is saved and brought back twice at the same time: nothing in it belongs to one sandbox. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, type FactoryHarness, openFactoryHarness } from '../helpers/qemu-factory.ts';

let harness: FactoryHarness;
let saved: string;

beforeAll(async () => {
  harness = await openFactoryHarness();
  saved = join(harness.runRoot, 'saved');
  const { factory } = await harness.factory();
  const vm = await factory.start(harness.config());
  try {
    const agent = await connect(vm, true);
    expect(agent.hello.kernelRelease).toContain('tskata');
    agent.close();
    await vm.pause();
    await vm.save(saved);
  } finally {
    await vm.stop();
  }
});

afterAll(() => harness.close());

describe('a saved machine', () => {
  it('answers in two machines restored at the same time', async () => {
    const made = await Promise.all([harness.factory(), harness.factory()]);
    const vms = await Promise.all(made.map(({ factory }) => factory.restore(harness.config(), saved)));
    try {
      const agents = await Promise.all(vms.map((vm) => connect(vm, false)));
      const infos = await Promise.all(agents.map((agent) => agent.call.guestInfo({}, { timeoutMs: 10_000 })));
      expect(infos).toHaveLength(2);
      expect(new Set(vms.map((vm) => vm.qemuPid)).size).toBe(2);
      for (const agent of agents) agent.close();
    } finally {
      await Promise.all(vms.map((vm) => vm.stop()));
    }
    expect((await readdir('/dev/shm')).filter((name) => name.startsWith('tskata-memory-'))).toEqual([]);
  });

  it('can be saved again after a restore', async () => {
    const { factory } = await harness.factory();
    const vm = await factory.restore(harness.config(), saved);
    try {
      await vm.pause();
      await vm.save(join(harness.runRoot, 'again'));
      await vm.resume();
      (await connect(vm, false)).close();
    } finally {
      await vm.stop();
    }
    const second = await (await harness.factory()).factory.restore(harness.config(), join(harness.runRoot, 'again'));
    try {
      (await connect(second, false)).close();
    } finally {
      await second.stop();
    }
  });

  it.each([
    ['another accelerator', { accelerator: 'kvm' }, /accelerator was kvm and is tcg/],
    ['another QEMU', { qemuVersion: '9.9.9' }, /QEMU version was 9\.9\.9 and is/],
    ['another kernel', { kernelSha256: 'f'.repeat(64) }, /guest kernel was ffffffffffff and is/],
    ['another profile', { profile: 'q35-kvm' }, /machine profile was q35-kvm and is/],
  ])('is refused when it was saved under %s', async (_, change, message) => {
    const record = JSON.parse(await readFile(join(saved, 'saved.json'), 'utf8'));
    const directory = join(harness.runRoot, 'changed');
    await mkdir(directory, { recursive: true });
    await writeFile(
      join(directory, 'saved.json'),
      JSON.stringify({ ...record, identity: { ...record.identity, ...change } }),
    );
    const { factory, keepers } = await harness.factory();
    await expect(factory.restore(harness.config(), directory)).rejects.toThrow(message);
    expect(keepers).toEqual([]);
  });

  it('is refused for another size, and an empty directory is no saved machine', async () => {
    const { factory } = await harness.factory();
    await expect(factory.restore(harness.config({ memoryMib: 512 }), saved)).rejects.toThrow(
      /memory size was 256 and is 512/,
    );
    await expect(factory.restore(harness.config(), harness.runRoot)).rejects.toThrow(/holds no saved machine/);
  });
});
