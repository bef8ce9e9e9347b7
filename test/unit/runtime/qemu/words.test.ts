/** Pure parts: kernel line, clock rate, slots, endings, console lines, versions, the accelerator's reasons. */
import { describe, expect, it } from 'vitest';
import { chooseAccelerator, explainAccelerator, type KvmFacts } from '../../../../runtime/qemu/accelerator.ts';
import { LineTail, MAX_LINE_CHARACTERS, MAX_TAIL_LINES, sanitizeLine } from '../../../../runtime/qemu/console.ts';
import { causeOfEvent, Ending } from '../../../../runtime/qemu/ending.ts';
import { hostTscKhz } from '../../../../runtime/qemu/kernel-params.ts';
import { compareVersions } from '../../../../runtime/qemu/programs.ts';
import { diskPlace, nicPlace, pathOf, sharePlace } from '../../../../runtime/qemu/slots.ts';
import { buildTestGuest } from '../../../../runtime/qemu/test-guest.ts';

const text = (value: string) => new TextEncoder().encode(value);

describe('the clock rate', () => {
  it.each([
    [
      'a VM: the present rate is the counter',
      'model name : X @ 3.00GHz\ncpu MHz : 2599.998\nflags : hypervisor\n',
      '',
      2_599_998,
    ],
    ['hardware: the base rate', 'model name : X @ 3.00GHz\ncpu MHz : 800.1\nflags : fpu\n', '2400000\n', 2_400_000],
    [
      'hardware without a base rate: the name',
      'model name : X @ 3.00GHz\ncpu MHz : 800.1\nflags : fpu\n',
      '',
      3_000_000,
    ],
    ['hardware without both', 'model name : X\ncpu MHz : 2100.000\nflags : fpu\n', '', 2_100_000],
    ['nothing', '', '', undefined],
  ])('%s', (_, cpuinfo, baseFrequency, khz) => {
    expect(hostTscKhz({ cpuinfo, baseFrequency })).toBe(khz);
  });
});

describe('slots', () => {
  it('have fixed paths that do not meet', () => {
    for (const layout of ['bridge', 'flat'] as const) {
      const disks = Array.from({ length: 9 }, (_, slot) => pathOf(diskPlace(layout, slot)));
      const shares = Array.from({ length: 6 }, (_, index) => pathOf(sharePlace(layout, index)));
      const nics = Array.from({ length: 8 }, (_, index) => pathOf(nicPlace(layout, index)));
      const all = [...disks, ...shares, ...nics];
      expect(new Set(all).size).toBe(all.length);
    }
    expect(pathOf(diskPlace('bridge', 8))).toBe('05.0/08.0');
    expect(pathOf(diskPlace('flat', 0))).toBe('05.0');
  });

  it('end', () => {
    expect(() => diskPlace('bridge', 9)).toThrow(/slots 0 to 8/);
    expect(() => diskPlace('bridge', 0.5)).toThrow();
    expect(() => sharePlace('bridge', 6)).toThrow(/at most 6/);
    expect(() => nicPlace('bridge', 8)).toThrow(/at most 8/);
  });
});

describe('an ending', () => {
  const ending = () => {
    const tail = new LineTail();
    const stderr = new LineTail();
    return { tail, stderr, ending: new Ending(tail, stderr) };
  };

  it('keeps the first cause', async () => {
    const { ending: end } = ending();
    end.note('asked', 'the machine was stopped');
    end.note('panicked', 'late');
    end.exited(137);
    end.exited(0);
    expect(await end.ended).toMatchObject({ cause: 'asked' });
  });

  it.each([
    [137, 'killed', /signal 9/],
    [1, 'failed', /status 1: last words/],
    [-1, 'helper-died', /helper/],
  ])('explains status %i', async (status, cause, message) => {
    const { ending: end, stderr } = ending();
    stderr.push(text('first\nlast words\n'));
    end.exited(status);
    expect((await end.ended).cause).toBe(cause);
    expect((await end.ended).message).toMatch(message);
  });

  it.each([
    ['Out of memory: compulsory', 'the guest kernel panicked: Out of memory: compulsory'],
    ['Attempted to kill init!', 'the agent (PID 1 of the guest) died: Attempted to kill init!'],
  ])('knows a panic by the words of the kernel where there is no notifier: %s', async (words, message) => {
    const { ending: end, tail } = ending();
    tail.push(text(`[ 1.0] Kernel panic - not syncing: ${words}\n`));
    end.note('powered-off', 'the guest reset itself');
    end.exited(0);
    expect(await end.ended).toMatchObject({ cause: 'panicked', message });
  });

  it.each([
    ['GUEST_PANICKED', {}, 'panicked'],
    ['SHUTDOWN', { reason: 'guest-shutdown' }, 'powered-off'],
    ['SHUTDOWN', { reason: 'guest-reset' }, 'powered-off'],
    ['SHUTDOWN', { reason: 'host-signal' }, 'killed'],
    ['SHUTDOWN', { reason: 'host-qmp-quit' }, undefined],
    ['STOP', {}, undefined],
  ])('reads the event %s %o', (name, data, cause) => {
    expect(causeOfEvent(name, data)?.cause).toBe(cause);
  });
});

describe('console lines', () => {
  it('are cleaned of what a terminal would obey', () => {
    expect(sanitizeLine('a\u001b[31mred\u001b[0m\u0007\tb\u202e')).toBe('ared\uFFFD b\uFFFD');
  });

  it('are bounded in number and length, whatever the chunks', () => {
    const tail = new LineTail();
    tail.push(text('x'.repeat(5 * MAX_LINE_CHARACTERS)));
    for (let index = 0; index < 500; index++) tail.push(text(`line ${index}\r\n`));
    tail.push(text('unfinished'));
    expect(tail.tail()).toHaveLength(MAX_TAIL_LINES + 1);
    expect(tail.tail().at(-2)).toBe('line 499');
    expect(tail.tail().at(-1)).toBe('unfinished');
    expect(Math.max(...tail.tail().map((line) => line.length))).toBeLessThanOrEqual(MAX_LINE_CHARACTERS);
  });

  it('keep a character that is cut between chunks', () => {
    const tail = new LineTail();
    const bytes = text('é\n');
    tail.push(bytes.subarray(0, 1));
    tail.push(bytes.subarray(1));
    expect(tail.tail()).toEqual(['é']);
  });
});

describe('the accelerator', () => {
  const facts: KvmFacts = {
    override: undefined,
    device: 'usable',
    cpuFlag: 'svm',
    nested: false,
    module: 'kvm_amd',
    trial: { ran: true, elapsedMs: 40 },
  };

  it('is KVM only when a guest ran', () => {
    expect(chooseAccelerator(facts).name).toBe('kvm');
    expect(chooseAccelerator({ ...facts, trial: { ran: false, reason: 'it hung' } })).toEqual({
      name: 'tcg',
      reason:
        'TCG (translation, slower), because KVM is not usable: /dev/kvm opens, but it hung (the CPU announces svm)',
    });
    expect(chooseAccelerator({ ...facts, device: 'missing', cpuFlag: undefined, trial: undefined }).reason).toMatch(
      /there is no \/dev\/kvm \(the CPU announces neither vmx nor svm\)/,
    );
    expect(chooseAccelerator({ ...facts, device: 'forbidden', trial: undefined }).reason).toMatch(/may not be opened/);
  });

  it('can be overridden', () => {
    expect(chooseAccelerator({ ...facts, override: 'tcg' })).toMatchObject({ name: 'tcg' });
    expect(chooseAccelerator({ ...facts, override: 'kvm', trial: undefined }).reason).toMatch(/TSKATA_ACCEL/);
  });

  it('has a cure for each step that is not good', () => {
    const bad = explainAccelerator({
      ...facts,
      device: 'missing',
      cpuFlag: undefined,
      module: undefined,
      nested: true,
      trial: undefined,
    });
    expect(bad.every((step) => !step.good && step.cure !== undefined)).toBe(true);
    expect(bad[0]?.cure).toMatch(/nested virtualization/);
    expect(explainAccelerator(facts).every((step) => step.good && step.cure === undefined)).toBe(true);
  });

  const none = { ...facts, device: 'missing', module: undefined, trial: undefined } as const;
  it.each<[string, KvmFacts, string, RegExp]>([
    ['no virtualization on hardware', { ...none, cpuFlag: undefined }, 'CPU virtualization', /firmware.*BIOS/],
    ['none in a machine', { ...none, cpuFlag: undefined, nested: true }, 'CPU virtualization', /nested virtualization/],
    ['no module, AMD', none, 'KVM module', /^modprobe kvm_amd; .*BIOS/],
    ['no module, Intel', { ...none, cpuFlag: 'vmx' }, 'KVM module', /^modprobe kvm_intel$/],
    ['a module that cannot help', { ...none, cpuFlag: undefined }, 'KVM module', /see the step above/],
    ['a container without the device', { ...none, module: 'kvm_amd' }, '/dev/kvm', /container.*give it \/dev\/kvm/],
    ['no permission', { ...none, device: 'forbidden' }, '/dev/kvm', /join the group/],
    ['a guest that hangs', { ...facts, trial: { ran: false, reason: 'it hung' } }, 'test guest under KVM', /dmesg/],
  ])('%s: the cure fits', (_, situation, name, cure) => {
    expect(explainAccelerator(situation).find((step) => step.name === name)).toMatchObject({
      good: false,
      cure: expect.stringMatching(cure),
    });
  });
});

it('versions compare by number', () => {
  expect(compareVersions('7.2.22', '7.2.0')).toBeGreaterThan(0);
  expect(compareVersions('10.0.0', '7.2.0')).toBeGreaterThan(0);
  expect(compareVersions('6.2.0', '7.2.0')).toBeLessThan(0);
});

it('the test guest begins at the reset vector with a jump to its first byte', () => {
  const rom = buildTestGuest();
  expect(rom).toHaveLength(0x10000);
  const jump = new DataView(rom.buffer).getInt16(0xfff1, true);
  expect((0xfff3 + jump) & 0xffff).toBe(0);
});
