/** One booted machine is saved and brought back twice at the same time: nothing in it belongs to one sandbox. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Vm } from '../../runtime/vm/vm.ts';
import { runContainer } from '../helpers/agent-programs.ts';
import type { AgentVm } from '../helpers/agent-vm.ts';
import { testSpec } from '../helpers/container-defaults.ts';
import { connect, type FactoryHarness, openFactoryHarness } from '../helpers/qemu-factory.ts';
import { makeTestDisks, type TestDisks } from '../helpers/test-disks.ts';

let harness: FactoryHarness;
let saved: string;
let disks: TestDisks;

beforeAll(async () => {
  harness = await openFactoryHarness();
  disks = await makeTestDisks();
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

afterAll(async () => {
  await disks.remove();
  await harness.close();
});

/** Gives a restored machine its identity, plugs two disks and runs a container on them. */
async function runIn(vm: Vm, name: string): Promise<{ stdout: string; status: number }> {
  const connection = await connect(vm, false);
  const entropy = crypto.getRandomValues(new Uint8Array(64));
  const wallClockNs = BigInt(Date.now()) * 1_000_000n;
  await connection.call.createSandbox({ sandboxId: name, hostname: name, wallClockNs, entropy });
  await vm.attachDisk({ slot: 0, path: disks.busybox, readOnly: true });
  await vm.attachDisk({ slot: 8, path: await disks.scratch(name), readOnly: false, ephemeral: true });
  const storages = [
    { id: 'layer', block: { pciPath: vm.diskPath(0), fsType: 'squashfs', readOnly: true } },
    { id: 'scratch', block: { pciPath: vm.diskPath(8), fsType: 'ext4', readOnly: false } },
    { id: 'root', overlay: { lowerIds: ['layer'], upperId: 'scratch' } },
  ];
  const script = 'hostname; cat /proc/sys/kernel/random/uuid; echo kept > /file; cat /file; exit 7';
  const spec = testSpec(['sh', '-c', script], { hostname: name });
  // The container helpers ask of a machine only its connection.
  const agentVm = { connection, call: connection.call } as unknown as AgentVm;
  const outcome = await runContainer(agentVm, { containerId: name, storages, rootfsId: 'root', spec });
  connection.close();
  return outcome;
}

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
    expect((await readdir('/dev/shm')).filter((name) => name.startsWith(`tskata-memory-${process.pid}-`))).toEqual([]);
  });

  it('becomes two sandboxes, each with a container on disks plugged after the restore', async () => {
    const made = await Promise.all([harness.factory(), harness.factory()]);
    const vms = await Promise.all(made.map(({ factory }) => factory.restore(harness.config(), saved)));
    try {
      const outcomes = await Promise.all(vms.map((vm, index) => runIn(vm, `sandbox-${index}`)));
      const lines = outcomes.map(({ stdout }) => stdout.trim().split('\n'));
      expect(outcomes.map(({ status }) => status)).toEqual([7, 7]);
      expect(lines.map(([hostname]) => hostname)).toEqual(['sandbox-0', 'sandbox-1']);
      expect(lines.map((line) => line[2])).toEqual(['kept', 'kept']);
      // Machines cloned from one state must not draw the same random numbers.
      expect(lines[0]?.[1]).not.toBe(lines[1]?.[1]);
    } finally {
      await Promise.all(vms.map((vm) => vm.stop()));
    }
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
