/** Machines that cannot start or do not live: each gives one clear error in time and leaves nothing behind. */
import { chmod, cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { MachineEnded } from '../../runtime/qemu/failure.ts';
import type { HostFacts } from '../../runtime/qemu/host-facts.ts';
import { probeHost } from '../../runtime/qemu/probe.ts';
import { findQemu } from '../../runtime/qemu/programs.ts';
import { createQemuFactory } from '../../runtime/qemu/qemu.ts';
import type { VmConfig } from '../../runtime/vm/vm.ts';
import { plainProcessHost } from '../helpers/plain-process-host.ts';
import { CONFIGS, connect, type FactoryHarness, openFactoryHarness } from '../helpers/qemu-factory.ts';

const KILL = 9;
let harness: FactoryHarness;
let facts: HostFacts;

beforeAll(async () => {
  harness = await openFactoryHarness();
  facts = await probeHost({ runRoot: harness.runRoot });
});
afterAll(() => harness.close());
afterEach(async () => {
  for (const directory of (await readdir(harness.runRoot)).filter((name) => name.startsWith('machine-'))) {
    expect(await readdir(join(harness.runRoot, directory)), directory).not.toContain('sockets');
  }
});

async function isGone(pid: number): Promise<boolean> {
  const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return state === undefined || /\) Z /.test(state);
}

async function failure(work: Promise<unknown>): Promise<TskataError> {
  try {
    await work;
  } catch (error) {
    expect(error).toBeInstanceOf(TskataError);
    return error as TskataError;
  }
  throw new Error('it did not fail');
}

/** Starts a machine that must fail before any process is started. */
async function refused(change: Partial<VmConfig>): Promise<TskataError> {
  const { factory, keepers } = await harness.factory();
  const error = await failure(factory.start(harness.config(change)));
  expect(keepers).toEqual([]);
  return error;
}

/** A program in QEMU's place, without a jail. */
async function fakeQemu(script: string): Promise<TskataError> {
  const executable = join(harness.runRoot, 'fake-qemu');
  await writeFile(executable, `#!/bin/sh\n${script}\n`);
  await chmod(executable, 0o755);
  const { factory } = await harness.factory({
    facts: { qemu: { ...facts.qemu, executable, binds: [] } },
    processHost: () => Promise.resolve(plainProcessHost()),
  });
  return failure(factory.start(harness.config()));
}

describe('before QEMU starts', () => {
  it('names a missing kernel and a missing initrd', async () => {
    const noKernel = await refused({ kernel: '/no/such/vmlinux' });
    expect(noKernel.code).toBe(Code.NotFound);
    expect(noKernel.message).toContain('/no/such/vmlinux');
    expect((await refused({ initrd: '/no/such/initrd' })).message).toContain('/no/such/initrd');
  });

  it('names a missing disk, a wrong slot, a slot used twice and a directory as a disk', async () => {
    const at = (path: string, slot: number) => ({ path, slot, readOnly: true });
    expect((await refused({ disks: [at('/no/such/disk', 0)] })).message).toContain('/no/such/disk');
    expect((await refused({ disks: [at('/etc/hostname', 9)] })).message).toContain('slot 9');
    expect((await refused({ disks: [at('/etc', 0)] })).message).toMatch(/\/etc: neither/);
    expect((await refused({ disks: [at('/etc/hostname', 0), at('/etc/hostname', 0)] })).message).toContain('two disks');
  });

  it('says how much memory there is when more is asked for', async () => {
    const error = await refused({ memoryMib: Math.ceil(totalmem() / 1024 ** 2) * 2 });
    expect(error.code).toBe(Code.ResourceExhausted);
    expect(error.message).toMatch(/more than the \d+ MiB of this host/);
    expect((await refused({ memoryMib: 16 })).message).toContain('at least');
  });

  it('refuses an unknown profile, and one that this host cannot run', async () => {
    expect((await refused({ profile: 'no-such-profile' })).code).toBe(Code.NotFound);
    expect((await refused({ profile: '../q35-tcg' })).code).toBe(Code.InvalidArgument);
    if (facts.accelerator.name === 'tcg') {
      expect((await refused({ profile: 'q35-kvm' })).message).toMatch(/needs KVM; TCG .*because KVM is not usable/);
    }
  });

  it('says that there is no QEMU, or that it is too old', async () => {
    const cache = join(harness.runRoot, 'cache');
    process.env.TSKATA_QEMU = '/no/such/qemu';
    try {
      expect((await failure(findQemu(cache))).message).toMatch(/no \/no\/such\/qemu; install/);
      const old = join(harness.runRoot, 'old-qemu');
      await writeFile(old, '#!/bin/sh\necho "QEMU emulator version 6.2.0"\n');
      await chmod(old, 0o755);
      process.env.TSKATA_QEMU = old;
      expect((await failure(findQemu(cache))).message).toMatch(/version 6\.2\.0; 7\.2\.0 or newer/);
    } finally {
      delete process.env.TSKATA_QEMU;
    }
  });
});

describe('QEMU ends at once', () => {
  it('with its words in the error', async () => {
    const error = await fakeQemu('echo "qemu: the moon is not full" >&2; exit 3');
    expect(error.message).toMatch(/start QEMU: QEMU exited with status 3: qemu: the moon is not full/);
  });

  it('for lack of memory', async () => {
    const error = await fakeQemu(`echo "qemu: cannot set up guest memory 'mem': Cannot allocate memory" >&2; exit 1`);
    expect(error.code).toBe(Code.ResourceExhausted);
  });

  it('with control characters in its words replaced', async () => {
    const error = await fakeQemu(`printf '\\033[31mred\\007\\n' >&2; exit 1`);
    expect(error.message).toContain('red\uFFFD');
    expect(error.message).not.toContain('\u001b');
  });

  it('by speaking no QMP', async () => {
    const error = await fakeQemu('echo "this is not QMP" >&3; sleep 30');
    expect(error.message).toMatch(/monitor did not open: read QMP: not JSON/);
  });
});

describe('the guest', () => {
  it('panics at boot: the error carries the last console lines', async () => {
    const initrd = join(harness.runRoot, 'empty-initrd');
    await writeFile(initrd, new Uint8Array(4096));
    const { factory, keepers } = await harness.factory();
    const error = await failure(factory.start(harness.config({ initrd })));
    expect(error).toBeInstanceOf(MachineEnded);
    expect((error as MachineEnded).end.cause).toBe('panicked');
    expect(error.message).toMatch(/boot VM: the guest kernel panicked[\s\S]*Kernel panic - not syncing/);
    expect(await isGone(keepers[0]?.pid ?? 0)).toBe(true);
  });

  it('hangs at boot: the deadline ends it', async () => {
    const configs = join(harness.runRoot, 'impatient');
    await mkdir(configs, { recursive: true });
    await cp(CONFIGS, configs, { recursive: true });
    const name = `q35-${facts.accelerator.name}`;
    const profile = JSON.parse(await readFile(join(CONFIGS, `${name}.json`), 'utf8'));
    await writeFile(join(configs, `${name}.json`), JSON.stringify({ ...profile, bootTimeoutMs: 200 }));
    const { stateDirectory } = await harness.factory();
    const factory = createQemuFactory({
      configDirectory: configs,
      stateDirectory,
      facts: () => Promise.resolve({ ...facts, qemu: { ...facts.qemu, binds: [] } }),
      processHost: () => Promise.resolve(plainProcessHost()),
      clock: nodeClock,
    });
    const error = await failure(factory.start(harness.config()));
    expect(error.message).toMatch(/boot VM: the guest did not open the agent's ports within 200 ms/);
  });
});

describe('a running machine', () => {
  it('ends within milliseconds when QEMU is killed, and says so', async () => {
    const { factory, keepers } = await harness.factory();
    const vm = await factory.start(harness.config());
    (await connect(vm, true)).close();
    const begun = performance.now();
    process.kill(vm.qemuPid, KILL);
    const end = await vm.ended;
    expect(performance.now() - begun).toBeLessThan(500);
    expect(end.cause).toBe('killed');
    expect(end.message).toMatch(/^QEMU was ended by signal 9;/);
    await expect(vm.pause()).rejects.toThrow(/pause: the machine has ended/);
    await vm.stop();
    await vm.stop();
    expect(await isGone(keepers[0]?.pid ?? 0)).toBe(true);
  });

  it('ends when its helper is killed', async () => {
    const { factory, keepers } = await harness.factory();
    const vm = await factory.start(harness.config());
    process.kill(keepers[0]?.pid ?? 0, KILL);
    expect((await vm.ended).cause).toBe('helper-died');
    await vm.stop();
    expect(await isGone(vm.qemuPid)).toBe(true);
  });

  it('ends as asked', async () => {
    const { factory, keepers } = await harness.factory();
    const vm = await factory.start(harness.config());
    await vm.stop();
    expect((await vm.ended).cause).toBe('asked');
    expect(await isGone(vm.qemuPid)).toBe(true);
    expect(await isGone(keepers[0]?.pid ?? 0)).toBe(true);
  });

  it('refuses a save while it runs, and a slot twice', async () => {
    const { factory } = await harness.factory();
    const image = join(harness.runRoot, 'disk.img');
    await writeFile(image, new Uint8Array(1024 * 1024));
    const vm = await factory.start(harness.config({ disks: [{ slot: 0, path: image, readOnly: true }] }));
    try {
      await expect(vm.save(join(harness.runRoot, 'never'))).rejects.toThrow(/pause it first/);
      await expect(vm.attachDisk({ slot: 0, path: image, readOnly: true })).rejects.toThrow(/slot 0 is taken/);
      await expect(vm.attachDisk({ slot: 1, path: '/no/such', readOnly: true })).rejects.toThrow(/\/no\/such/);
      await expect(vm.detachDisk(3)).rejects.toThrow(/slot 3 is empty/);
      // A failed attach leaves the slot free.
      await vm.attachDisk({ slot: 1, path: image, readOnly: true });
      await vm.detachDisk(1);
      await vm.attachDisk({ slot: 1, path: image, readOnly: true });
      expect(vm.diskPath(1)).toBe('05.0/01.0');
    } finally {
      await vm.stop();
    }
  });
});
