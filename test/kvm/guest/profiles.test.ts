/** The machine profiles for KVM, booted under it: what the guest sees of the hardware that a profile leaves out. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootProfile, type ProfileMachine } from '../../helpers/profile-exercise.ts';
import { type FactoryHarness, openFactoryHarness } from '../../helpers/qemu-factory.ts';
import { makeTestDisks, type TestDisks } from '../../helpers/test-disks.ts';
import { beInKvmHost, HOOK_MS } from './host.ts';

let harness: FactoryHarness;
let disks: TestDisks;

beforeAll(async () => {
  beInKvmHost();
  harness = await openFactoryHarness();
  disks = await makeTestDisks();
}, HOOK_MS);
afterAll(async () => {
  await disks.remove();
  await harness.close();
});

/** Interrupt 0 is the PIT's, 2 the cascade of the PIC, 8 the clock's. */
const SCRIPT = [
  'echo cpus=$(nproc)',
  'echo cpu=$(sed "/^$/q" /proc/cpuinfo | grep -E "^(vendor_id|cpu family|model|stepping)[^a-z]*:")',
  'echo flags=$(grep -m1 "^flags" /proc/cpuinfo)',
  "echo interrupts=$(awk '/^ *[0-9]+:/ { print $1 $NF }' /proc/interrupts)",
  'echo pic=$(grep -c XT-PIC /proc/interrupts)',
  'echo clock=$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)',
  'echo event=$(cat /sys/devices/system/clockevents/clockevent0/current_device)',
  'echo broadcast=$(cat /sys/devices/system/clockevents/broadcast/current_device)',
  'echo rtc=$(ls /dev/rtc* /sys/class/rtc 2>/dev/null)',
  'echo written > /file && cat /file',
  'exit 42',
].join('\n');

describe.each(['q35-kvm', 'microvm-kvm'])('%s', (profile) => {
  let machine: ProfileMachine;
  let outcome: Awaited<ReturnType<ProfileMachine['run']>>;
  let answers: Map<string, string>;

  beforeAll(async () => {
    machine = await bootProfile(harness, disks, profile);
    outcome = await machine.run(['sh', '-c', SCRIPT]);
    const lines = outcome.stdout.trim().split('\n');
    answers = new Map(lines.map((line) => [line.split('=')[0] ?? '', line.split('=').slice(1).join('=')]));
  }, HOOK_MS);
  afterAll(() => machine?.stop());

  it('runs a container on its cold disks under KVM', () => {
    expect(machine.vm.accelerator).toBe('kvm');
    expect(outcome).toMatchObject({ status: 42, stderr: '' });
    expect(outcome.stdout).toContain('\nwritten\n');
    expect(answers.get('cpus')).toBe('2');
  });

  it("has the host's CPU, without virtualization and counters", () => {
    const [first = ''] = readFileSync('/proc/cpuinfo', 'utf8').split('\n\n');
    const lines = first.split('\n').filter((line) => /^(vendor_id|cpu family|model|stepping)[^a-z]*:/.test(line));
    expect(lines).toHaveLength(4);
    expect(answers.get('cpu')).toBe(lines.join(' ').replace(/\s+/g, ' '));
    const flags = new Set(answers.get('flags')?.split(' '));
    for (const flag of ['svm', 'vmx', 'perfctr_core', 'arch_perfmon']) expect(flags).not.toContain(flag);
    expect(flags).toContain('hypervisor');
  });

  it("takes the time from KVM and the CPU's own timer: no PIC, no PIT, no clock of the PC", () => {
    expect(answers.get('clock')).toBe('kvm-clock');
    expect(answers.get('event')).toMatch(/^lapic/);
    expect(answers.get('broadcast')).toBe('');
    expect(answers.get('pic')).toBe('0');
    expect(answers.get('interrupts')).not.toMatch(/timer|cascade|rtc/);
    expect(answers.get('rtc')).toBe('');
  });

  it(profile.startsWith('q35') ? 'takes one more disk' : 'refuses one more disk', async () => {
    const refusal = expect.stringContaining('this machine profile has no hotplug; take a q35 one');
    expect(await machine.plug()).toEqual(profile.startsWith('q35') ? 'ok' : refusal);
  });
});
