/** A machine under KVM is saved and brought back; what was saved under one accelerator is refused under the other. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, type FactoryHarness, openFactoryHarness } from '../../helpers/qemu-factory.ts';
import { beInKvmHost } from './host.ts';

const TCG = { accelerator: { name: 'tcg', reason: 'asked for by the test' } } as const;
const MACHINE_MS = 240_000;
const CALL = { timeoutMs: 60_000 };

let harness: FactoryHarness;
let saved: string;

beforeAll(async () => {
  beInKvmHost();
  harness = await openFactoryHarness();
  saved = join(harness.runRoot, 'saved');
});
afterAll(() => harness.close());

describe('a machine under KVM', () => {
  it('boots, is saved, goes on', { timeout: MACHINE_MS }, async () => {
    const { factory } = await harness.factory();
    const vm = await factory.start(harness.config());
    try {
      expect(vm.accelerator).toBe('kvm');
      const agent = await connect(vm, true);
      await vm.pause();
      await vm.save(saved);
      await vm.resume();
      expect(await agent.call.guestInfo({}, CALL)).toBeDefined();
      agent.close();
    } finally {
      await vm.stop();
    }
  });

  it('answers after its restore', { timeout: MACHINE_MS }, async () => {
    const { factory } = await harness.factory();
    const vm = await factory.restore(harness.config(), saved);
    try {
      expect(vm.accelerator).toBe('kvm');
      const agent = await connect(vm, false);
      expect(await agent.call.guestInfo({}, CALL)).toBeDefined();
      agent.close();
    } finally {
      await vm.stop();
    }
  });

  it('is refused under TCG', async () => {
    const { factory, keepers } = await harness.factory({ facts: TCG });
    await expect(factory.restore(harness.config(), saved)).rejects.toThrow(/accelerator was kvm and is tcg/);
    expect(keepers).toEqual([]);
  });
});

describe('a machine under TCG in the same host', () => {
  it('is saved, and refused under KVM', { timeout: 2 * MACHINE_MS }, async () => {
    const directory = join(harness.runRoot, 'saved-tcg');
    const tcg = await harness.factory({ facts: TCG });
    const vm = await tcg.factory.start(harness.config());
    try {
      expect(vm.accelerator).toBe('tcg');
      await vm.pause();
      await vm.save(directory);
    } finally {
      await vm.stop();
    }
    const { factory, keepers } = await harness.factory();
    await expect(factory.restore(harness.config(), directory)).rejects.toThrow(/accelerator was tcg and is kvm/);
    // The same machine by name, on a host that runs KVM: what tells is not the profile alone.
    const named = factory.restore(harness.config({ profile: 'q35-kvm' }), directory);
    await expect(named).rejects.toThrow(/machine profile was q35-tcg and is q35-kvm/);
    expect(keepers).toEqual([]);
  });
});
