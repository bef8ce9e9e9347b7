/** Command lines of every machine profile, word by word. A change of one is reviewed like code. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type CommandLineInput, composeCommandLine } from '../../runtime/qemu/cmdline.ts';
import { loadProfile } from '../../runtime/qemu/profile.ts';
import type { VmConfig } from '../../runtime/vm/vm.ts';

const CONFIGS = join(import.meta.dirname, '../../qemu-configs');
const PROFILES = ['q35-kvm', 'q35-tcg', 'microvm-kvm', 'microvm-tcg', 'q35-kvm-vsock'];
const plain: VmConfig = {
  profile: 'auto',
  memoryMib: 512,
  vcpus: 1,
  kernel: '/guest/vmlinux',
  initrd: '/guest/initrd.img',
  disks: [],
  shares: [],
  nics: [],
  debug: false,
};
const full: VmConfig = {
  ...plain,
  vcpus: 4,
  debug: true,
  disks: [
    { slot: 0, path: '/layers/base.squashfs', readOnly: true },
    { slot: 7, path: '/layers/top.squashfs', readOnly: true },
    { slot: 8, path: '/scratch/c1.ext4', readOnly: false, ephemeral: true },
  ],
  shares: [{ tag: 'volumes', directory: '/srv', readOnly: false }],
  nics: [{ mac: '02:00:00:00:00:01', backend: { type: 'user', address: '10.0.2.15', gateway: '10.0.2.2', dns: [] } }],
};

async function compose(profile: string, config: VmConfig, more: Partial<CommandLineInput> = {}) {
  return composeCommandLine({
    profile: await loadProfile(CONFIGS, profile),
    config,
    hostTscKhz: 2_600_000,
    hostDevices: new Set(),
    vhostNet: false,
    ...(profile.endsWith('-vsock') ? { vsockCid: 4242 } : {}),
    ...more,
  });
}

/** One option a line, then what each descriptor is. */
function show(line: ReturnType<typeof composeCommandLine>): string {
  const words = line.args.map((arg) => (arg.startsWith('-') && !arg.includes(' ') ? `\n${arg}` : ` ${arg}`)).join('');
  const fds = line.descriptors.map((descriptor, index) => `fd ${index + 3}: ${JSON.stringify(descriptor)}`);
  return `${words.trimStart()}\n\n${fds.join('\n')}\n`;
}

describe.each(PROFILES)('%s', (profile) => {
  it.each([
    ['plain', plain],
    ['full', full],
  ])('%s', async (name, config) => {
    await expect(show(await compose(profile, config))).toMatchFileSnapshot(`qemu/${profile}.${name}.txt`);
  });

  it('says nothing of one sandbox', async () => {
    const disks = full.disks.map((disk) => ({ ...disk, path: `${disk.path}.other` }));
    const shares = full.shares.map((share) => ({ ...share, directory: '/other' }));
    const other = { ...full, disks, shares, kernel: '/other/vmlinux', initrd: '/other/initrd' };
    expect((await compose(profile, other)).args).toEqual((await compose(profile, full)).args);
  });

  it('names the format of every disk, and denies all that the sandbox filter can deny', async () => {
    const { args } = await compose(profile, full);
    const blockdevs = args.filter((_, index) => args[index - 1] === '-blockdev').map((word) => JSON.parse(word));
    expect(new Set(blockdevs.map((node) => node.driver))).toEqual(new Set(['file', 'raw']));
    expect(args[args.indexOf('-sandbox') + 1]).toBe(
      'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
    );
    expect(args).toContain('-nodefaults');
  });
});

it('restore', async () => {
  const line = await compose('q35-tcg', plain, { restoreFrom: { deviceState: '/saved/device-state' } });
  expect(line.descriptors.at((line.deviceStateFd ?? 0) - 3)).toMatchObject({ path: '/saved/device-state' });
  await expect(show(line)).toMatchFileSnapshot('qemu/q35-tcg.restore.txt');
});

it('a block device of the host', async () => {
  const disks = [{ slot: 0, path: '/dev/vg/layer', readOnly: true }];
  const { args } = await compose('q35-kvm', { ...plain, disks }, { hostDevices: new Set(['/dev/vg/layer']) });
  expect(args.join(' ')).toContain('"driver":"host_device"');
});

it('the profile with vsock is the default one in all else', async () => {
  const { name, description, agentTransport, ...rest } = await loadProfile(CONFIGS, 'q35-kvm-vsock');
  expect(agentTransport).toBe('vsock');
  expect(await loadProfile(CONFIGS, 'q35-kvm')).toMatchObject(rest);
});

describe('a tap', () => {
  const nic = { mac: '02:00:00:00:00:02', backend: { type: 'tap', tap: 'tap0' } } as const;

  it('by vhost', async () => {
    const line = await compose('q35-kvm', { ...plain, nics: [nic] }, { vhostNet: true });
    await expect(show(line)).toMatchFileSnapshot('qemu/q35-kvm.tap-vhost.txt');
  });

  it('by QEMU', async () => {
    const line = await compose('q35-tcg', { ...plain, nics: [nic] });
    await expect(show(line)).toMatchFileSnapshot('qemu/q35-tcg.tap.txt');
  });

  it('is the only one that vhost changes', async () => {
    expect(await compose('q35-kvm', full, { vhostNet: true })).toEqual(await compose('q35-kvm', full));
  });
});
