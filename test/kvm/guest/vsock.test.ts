/** The agent over vsock by the host's kernel: a whole life, who may reach it, and that no two machines share an address. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CONTROL_VSOCK_PORT } from '../../../agent/protocol/vsock.ts';
import type { Vm } from '../../../runtime/vm/vm.ts';
import { bootProfile, type ProfileMachine } from '../../helpers/profile-exercise.ts';
import { connect, type FactoryHarness, openFactoryHarness } from '../../helpers/qemu-factory.ts';
import { makeTestDisks, type TestDisks } from '../../helpers/test-disks.ts';
import { eventually } from '../../helpers/tskata.ts';
import { beInKvmHost, callPatiently, HOOK_MS, host, hostTskata } from './host.ts';

const execute = promisify(execFile);
const PROFILE = 'q35-kvm-vsock';
const CALL = { timeoutMs: 60_000 };
const OUTPUT_BYTES = 4 * 1024 * 1024;

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

function commandLine(vm: Vm): string {
  return readFileSync(`/proc/${vm.qemuPid}/cmdline`, 'utf8').replaceAll('\0', ' ');
}

function cidOf(vm: Vm): number {
  return Number(/"guest-cid":(\d+)/.exec(commandLine(vm))?.[1]);
}

/** Connects to the agent's control port as some user, from a port of the kernel's choice: what comes, or the error. */
async function knock(cid: number, uid: number): Promise<string> {
  const script = [
    'use Socket; alarm 20; socket(S, 40, SOCK_STREAM, 0) or die "socket: $!";',
    `connect(S, pack("S S L L x4", 40, 0, ${CONTROL_VSOCK_PORT}, ${cid})) or do { print "refused: $!"; exit };`,
    'my $count = sysread(S, my $bytes, 16); print defined $count ? "read $count" : "refused: $!";',
  ].join(' ');
  const { stdout } = await execute('setpriv', [`--reuid=${uid}`, '--clear-groups', 'perl', '-e', script]);
  return stdout;
}

/** Asks the kernel for an address, as another machine would: the error, or nothing. */
async function claim(cid: number): Promise<string> {
  const script = [
    'open(my $device, "+<", "/dev/vhost-vsock") or die;',
    `my $cid = pack("Q", ${cid}); ioctl($device, 0x4008af60, $cid) or print "$!";`,
  ].join(' ');
  return (await execute('perl', ['-e', script])).stdout;
}

describe('a machine whose agent is reached over vsock', () => {
  let machine: ProfileMachine;
  let cid: number;

  beforeAll(async () => {
    machine = await bootProfile(harness, disks, PROFILE);
    cid = cidOf(machine.vm);
  }, HOOK_MS);
  afterAll(() => machine?.stop());

  it('has no port for it, but the device of the kernel', () => {
    expect(machine.vm.accelerator).toBe('kvm');
    expect(commandLine(machine.vm)).not.toContain('virtserialport');
    const fds = readdirSync(`/proc/${machine.vm.qemuPid}/fd`).map((fd) => `/proc/${machine.vm.qemuPid}/fd/${fd}`);
    expect(fds.map((fd) => readlinkSync(fd))).toContain('/dev/vhost-vsock');
  });

  it('answers calls, and carries the output of a container', { timeout: HOOK_MS }, async () => {
    const script = `dd if=/dev/zero bs=64k count=${OUTPUT_BYTES / 65_536} 2>/dev/null | tr '\\0' x; exit 42`;
    const { status, stdout } = await machine.run(['sh', '-c', script]);
    expect(status).toBe(42);
    expect(stdout.length).toBe(OUTPUT_BYTES);
    expect(/^x*$/.test(stdout)).toBe(true);
  });

  it('is not reached by anybody but root of the host', async () => {
    // The connection is accepted by the kernel and closed by the agent: no byte, not even the greeting.
    for (const uid of [65_534, 0])
      expect(await knock(cid, uid)).toMatch(/^(read 0|refused: Connection reset by peer)$/);
    expect(await machine.connection.call.guestInfo({}, CALL)).toBeDefined();
  });

  it('has an address that no other machine can get', async () => {
    expect(cid).toBeGreaterThan(2);
    expect(await claim(cid)).toBe('Address already in use');
    expect(await claim(cid === 5 ? 6 : 5)).toBe('');
  });
});

describe('tskata run with a configuration that takes vsock', () => {
  it('reaches its agent by the device, and gives output and exit code back', { timeout: HOOK_MS }, async () => {
    const tskata = await hostTskata();
    const file = join(tskata.directory, 'vsock.toml');
    writeFileSync(file, `[machine]\nprofile = "${PROFILE}"\n`, { mode: 0o644 });
    const script = 'ls /sys/bus/virtio/drivers | grep -c vsock; ls /dev/vport* 2>/dev/null | wc -l; exit 9';
    const run = ['run', '--rm', '--network', 'none', '--privileged', 'busybox', 'sh', '-c', script];
    const result = await callPatiently(tskata, ['--runtime-config-path', file, ...run]);
    expect(result).toEqual({ status: 9, stdout: '1\n0\n', stderr: '' });
    // The kernel's thread for the device leaves the group after its machine: the group goes with the next command.
    const isClean = async () => (await tskata.call(['list'])).status === 0 && tskata.leaks().length === 0;
    await eventually(isClean, 30_000, 'nothing is left').catch(() => expect(tskata.leaks()).toEqual([]));
  });
});

describe('a machine with vsock that was saved', () => {
  it('is reached again after its restore, at another address', { timeout: 2 * HOOK_MS }, async () => {
    const saved = join(harness.runRoot, 'saved');
    const first = await (await harness.factory()).factory.start(harness.config({ profile: PROFILE }));
    const before = cidOf(first);
    try {
      const agent = await connect(first, true);
      await first.pause();
      await first.save(saved);
      agent.close();
    } finally {
      await first.stop();
    }
    const second = await (await harness.factory()).factory.restore(harness.config({ profile: PROFILE }), saved);
    try {
      expect(cidOf(second)).not.toBe(before);
      const agent = await connect(second, false);
      expect(await agent.call.guestInfo({}, CALL)).toBeDefined();
      agent.close();
    } finally {
      await second.stop();
    }
  });
});

describe('a host without vhost-vsock', () => {
  afterAll(() => host('modprobe', 'vhost_vsock'));

  it('refuses the profile with what to do, and leaves nothing', { timeout: HOOK_MS }, async () => {
    // A closed vsock connection holds the module for the seconds in which the other side may still answer.
    const isGone = async () => (await host('sh', '-c', 'rmmod vhost_vsock 2>&1 || true')) === '';
    await eventually(isGone, 60_000, 'the module is in use no more');
    expect(existsSync('/dev/vhost-vsock')).toBe(false);
    const { factory, keepers } = await harness.factory();
    const start = factory.start(harness.config({ profile: PROFILE }));
    await expect(start).rejects.toThrow(
      /machine profile q35-kvm-vsock: .*\/dev\/vhost-vsock.*load the module vhost_vsock, or take a profile without vsock/,
    );
    expect(existsSync(`/proc/${keepers[0]?.pid}`)).toBe(false);
  });
});
