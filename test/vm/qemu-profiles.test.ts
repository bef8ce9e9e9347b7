/** Every machine profile that this host can run: cold disks where the agent finds them, a container, hotplug or none. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { probeHost } from '../../runtime/qemu/probe.ts';
import { type AgentVm, makeTestDisks, runContainer, type TestDisks, testSpec } from '../helpers/agent-vm.ts';
import { connect, type FactoryHarness, openFactoryHarness } from '../helpers/qemu-factory.ts';

const harness: FactoryHarness = await openFactoryHarness();
const { accelerator } = await probeHost({ runRoot: harness.runRoot });
let disks: TestDisks;

beforeAll(async () => {
  disks = await makeTestDisks();
});
afterAll(async () => {
  await disks.remove();
  await harness.close();
});

describe.each(['q35-tcg', 'microvm-tcg', 'q35-kvm', 'microvm-kvm'])('%s', (profile) => {
  // TCG runs anywhere; KVM only where a guest really runs under it.
  const runnable = profile.endsWith('-tcg') || accelerator.name === 'kvm';
  if (!runnable) console.log(`skipped: ${profile}: ${accelerator.reason}`);

  it.skipIf(!runnable)('boots with cold disks and runs a container on them', async () => {
    const { factory } = await harness.factory();
    const scratch = await disks.scratch(profile);
    const config = harness.config({
      profile,
      vcpus: 2,
      disks: [
        { slot: 0, path: disks.busybox, readOnly: true },
        { slot: 8, path: scratch, readOnly: false, ephemeral: true },
      ],
    });
    const vm = await factory.start(config);
    try {
      const connection = await connect(vm, true);
      const wallClockNs = BigInt(Date.now()) * 1_000_000n;
      await connection.call.createSandbox({ sandboxId: 's', hostname: 's', wallClockNs, entropy: new Uint8Array(64) });
      const storages = [
        { id: 'layer', block: { pciPath: vm.diskPath(0), fsType: 'squashfs', readOnly: true } },
        { id: 'scratch', block: { pciPath: vm.diskPath(8), fsType: 'ext4', readOnly: false } },
        { id: 'root', overlay: { lowerIds: ['layer'], upperId: 'scratch' } },
      ];
      const spec = testSpec(['sh', '-c', 'nproc; exit 42']);
      const agentVm = { connection, call: connection.call } as unknown as AgentVm;
      const outcome = await runContainer(agentVm, { containerId: 'c', storages, rootfsId: 'root', spec });
      expect(outcome).toMatchObject({ stdout: '2\n', status: 42 });
      const plugging = vm.attachDisk({ slot: 1, path: disks.busybox, readOnly: true });
      if (profile.startsWith('q35')) await plugging;
      else await expect(plugging).rejects.toThrow(/this machine profile has no hotplug; take a q35 one/);
      connection.close();
    } finally {
      await vm.stop();
    }
    expect((await vm.ended).cause).toBe('asked');
  });
});

it('the choice takes at most 1.5 s on an idle host, and nothing the second time', async () => {
  const runRoot = join(harness.runRoot, 'fresh');
  await probeHost({ runRoot });
  const begun = performance.now();
  const again = await probeHost({ runRoot });
  expect(again.accelerator).toEqual(accelerator);
  expect(performance.now() - begun).toBeLessThan(500);
});
