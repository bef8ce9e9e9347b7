/** The machine profiles that any host can run. Those for KVM are booted by the KVM tier: test/kvm/guest/profiles.test.ts. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { probeHost } from '../../runtime/qemu/probe.ts';
import { bootProfile } from '../helpers/profile-exercise.ts';
import { type FactoryHarness, openFactoryHarness } from '../helpers/qemu-factory.ts';
import { makeTestDisks, type TestDisks } from '../helpers/test-disks.ts';

let harness: FactoryHarness;
let disks: TestDisks;

beforeAll(async () => {
  harness = await openFactoryHarness();
  disks = await makeTestDisks();
});
afterAll(async () => {
  await disks.remove();
  await harness.close();
});

describe.each(['q35-tcg', 'microvm-tcg'])('%s', (profile) => {
  it('boots with cold disks and runs a container on them', async () => {
    const machine = await bootProfile(harness, disks, profile);
    try {
      expect(await machine.run(['sh', '-c', 'nproc; exit 42'])).toMatchObject({ stdout: '2\n', status: 42 });
      const refusal = expect.stringContaining('this machine profile has no hotplug; take a q35 one');
      expect(await machine.plug()).toEqual(profile.startsWith('q35') ? 'ok' : refusal);
    } finally {
      await machine.stop();
    }
    expect((await machine.vm.ended).cause).toBe('asked');
  });
});

it('a profile for KVM is refused, with the reason, where KVM is not what runs here', async () => {
  const { factory, keepers } = await harness.factory({
    facts: { accelerator: { name: 'tcg', reason: 'TCG, because' } },
  });
  const start = factory.start(harness.config({ profile: 'q35-kvm' }));
  await expect(start).rejects.toThrow('machine profile q35-kvm: it needs KVM; TCG, because');
  expect(keepers).toEqual([]);
});

it('the choice takes at most 1.5 s on an idle host, and nothing the second time', async () => {
  const runRoot = harness.runRoot;
  const { accelerator } = await probeHost({ runRoot });
  const begun = performance.now();
  const again = await probeHost({ runRoot });
  expect(again.accelerator).toEqual(accelerator);
  expect(performance.now() - begun).toBeLessThan(500);
});
