/**
 * The guest kernel by itself, with busybox as init: what a container may expect of it is there, what must not be there is
 * not, it powers off, and a panic reaches QEMU. Nothing of the runtime takes part.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ensureGuestKernel, type GuestKernel } from '../../guest-kernel/build.ts';
import { type CpioEntry, writeCpio } from '../../guest-kernel/cpio.ts';

/** A kernel may have to be built first. */
const BUILD_TIMEOUT_MS = 3_600_000;
const BOOT_TIMEOUT_MS = 60_000;
const MEMORY_MIB = 512;

let kernel: GuestKernel;
let folder = '';
beforeAll(async () => {
  kernel = await ensureGuestKernel();
  folder = mkdtempSync(join(tmpdir(), 'tskata-kernel-vm-'));
}, BUILD_TIMEOUT_MS);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Boots with a shell script as init and returns what the guest wrote and QEMU's exit code. */
async function boot(script: string, image: string, extra: readonly string[] = []) {
  const initrd = join(folder, 'initrd');
  const entries: CpioEntry[] = [
    ...['bin', 'dev', 'mnt', 'proc', 'sys'].map((path) => ({ kind: 'directory', path, mode: 0o755 }) as const),
    { kind: 'char-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { kind: 'file', path: 'bin/busybox', mode: 0o755, data: readFileSync('/bin/busybox') },
    { kind: 'symlink', path: 'bin/sh', target: 'busybox' },
    {
      kind: 'file',
      path: 'init',
      mode: 0o755,
      data: Buffer.from(`#!/bin/sh\nexport PATH=/bin\n/bin/busybox --install -s /bin\n${script}\n`),
    },
  ];
  writeFileSync(initrd, writeCpio(entries));
  const mhz = /^cpu MHz\s*: ([\d.]+)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '1000';
  const line = `quiet console=hvc0 panic=-1 tsc_early_khz=${Math.round(Number(mhz) * 1000)} lapic_timer_hz=1000000000 tsc=reliable`;
  const qemu = spawn(
    'qemu-system-x86_64',
    [
      ...[
        '-nodefaults',
        '-no-user-config',
        '-display',
        'none',
        '-no-reboot',
        '-machine',
        'q35,accel=tcg',
        '-m',
        `${MEMORY_MIB}`,
      ],
      ...['-bios', 'qboot.rom', '-kernel', image, '-initrd', initrd, '-append', line],
      ...[
        '-device',
        'virtio-serial-pci',
        '-chardev',
        'stdio,id=console,signal=off',
        '-device',
        'virtconsole,chardev=console',
      ],
      ...extra,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], timeout: BOOT_TIMEOUT_MS, killSignal: 'SIGKILL' },
  );
  const [output, [code]] = await Promise.all([text(qemu.stdout), once(qemu, 'exit')]);
  return { output: output.replaceAll('\r', ''), code };
}

/** One answer of the guest: the words behind `name:`. */
function answer(output: string, name: string): string[] {
  const line = output.split('\n').find((each) => each.startsWith(`${name}: `));
  expect(line, `${name} in:\n${output}`).toBeDefined();
  return (line ?? '')
    .slice(name.length + 2)
    .split(' ')
    .filter((word) => word !== '');
}

const SURVEY = `
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mkdir /dev/mqueue
echo 1024 > /proc/sys/vm/min_free_kbytes # as the agent does
echo "used-kib: $(( ${MEMORY_MIB} * 1024 - $(awk '/MemAvailable/{print $2}' /proc/meminfo) ))"
say() { echo "$1: $(shift; "$@" | tr '\t\n' '  ')"; }
say release uname -r
say filesystems awk '{print $NF}' /proc/filesystems
say namespaces ls /proc/self/ns
say seccomp cat /proc/sys/kernel/seccomp/actions_avail
say bpf cat /proc/sys/net/core/bpf_jit_enable
say modules-disabled cat /proc/sys/kernel/modules_disabled
say dev ls /dev /dev/mapper /dev/net
say iptables cat /proc/net/ip_tables_targets /proc/net/ip_tables_matches
say ip6tables cat /proc/net/ip6_tables_targets
say drivers ls /sys/bus/virtio/drivers /sys/bus/pci/drivers
mount -t cgroup2 none /mnt
say controllers cat /mnt/cgroup.controllers
echo '+cpu +io +memory +pids +cpuset' > /mnt/cgroup.subtree_control; mkdir /mnt/a
say cgroup-files ls /mnt/a
umount /mnt
link() { ip link add "$@" && echo "link-$(echo "$*" | sed 's/.*type //; s/ .*//'): ok"; }
link tbridge type bridge; link tdummy type dummy; link tveth type veth
link link tdummy name tmacvlan type macvlan; link link tveth name tipvlan type ipvlan; link link tdummy name tvlan type vlan id 5
tunctl -t ttun > /dev/null && echo "link-tun: ok"
mkdir /mnt/l /mnt/e /mnt/s; mount -t squashfs -o ro /dev/vda /mnt/l && mount -t ext4 /dev/vdb /mnt/s && mkdir /mnt/s/u /mnt/s/w &&
  mount -t overlay -o lowerdir=/mnt/l,upperdir=/mnt/s/u,workdir=/mnt/s/w o /mnt/e && echo changed > /mnt/e/hello && say overlay cat /mnt/e/hello /mnt/l/hello
umount /mnt/e; umount /mnt/s
say console cat /sys/class/tty/console/active
poweroff -f`;

describe('a booted guest kernel', () => {
  let output = '';
  let code: unknown;
  beforeAll(async () => {
    const layer = join(folder, 'layer.squashfs');
    const scratch = join(folder, 'scratch.ext4');
    writeFileSync(join(folder, 'hello'), 'original\n');
    execFileSync('mksquashfs', [join(folder, 'hello'), layer, '-comp', 'zstd', '-quiet', '-no-progress']);
    execFileSync('mkfs.ext4', ['-q', scratch, '8M']);
    const disk = (file: string, id: string, readonly: string) => [
      ...['-blockdev', `raw,node-name=${id},read-only=${readonly},file.driver=file,file.filename=${file}`],
      ...['-device', `virtio-blk-pci,drive=${id}`],
    ];
    ({ output, code } = await boot(SURVEY, kernel.vmlinux, [
      ...disk(layer, 'layer', 'on'),
      ...disk(scratch, 'scratch', 'off'),
    ]));
  }, BOOT_TIMEOUT_MS);

  test('is the one that was built', () => {
    expect(answer(output, 'release')).toEqual([kernel.release]);
  });

  test('uses less than 40 MB with busybox in memory', () => {
    expect(Number(answer(output, 'used-kib')[0])).toBeLessThan(40_000_000 / 1024);
  });

  test.each([
    'squashfs',
    'erofs',
    'ext4',
    'overlay',
    'fuse',
    'virtiofs',
    'tmpfs',
    'devtmpfs',
    'hugetlbfs',
    'mqueue',
    'cgroup2',
    'binfmt_misc',
    'bpf',
  ])('knows the file system %s', (name) => expect(answer(output, 'filesystems')).toContain(name));

  test('has all namespaces', () => {
    expect(answer(output, 'namespaces')).toEqual(
      expect.arrayContaining(['cgroup', 'ipc', 'mnt', 'net', 'pid', 'time', 'user', 'uts']),
    );
  });

  test('has all controllers of cgroup v2 and their files', () => {
    expect(answer(output, 'controllers').sort()).toEqual([
      'cpu',
      'cpuset',
      'hugetlb',
      'io',
      'memory',
      'misc',
      'pids',
      'rdma',
    ]);
    const files = [
      'cpu.max',
      'cpu.weight',
      'cpuset.cpus',
      'io.max',
      'memory.max',
      'memory.swap.max',
      'pids.max',
      'cgroup.freeze',
      'cgroup.kill',
    ];
    expect(answer(output, 'cgroup-files')).toEqual(expect.arrayContaining(files));
  });

  test.each(['bridge', 'dummy', 'macvlan', 'ipvlan', 'veth', 'vlan', 'tun'])('makes %s interfaces', (type) => {
    expect(answer(output, `link-${type}`)).toEqual(['ok']);
  });

  test('has the tables of iptables', () => {
    expect(answer(output, 'iptables')).toEqual(
      expect.arrayContaining([
        'MASQUERADE',
        'DNAT',
        'REDIRECT',
        'REJECT',
        'conntrack',
        'addrtype',
        'comment',
        'multiport',
      ]),
    );
    expect(answer(output, 'ip6tables')).toEqual(expect.arrayContaining(['MASQUERADE', 'REJECT']));
  });

  test('has the devices that containers and the agent open', () => {
    const names = [
      'console',
      'control',
      'full',
      'fuse',
      'hvc0',
      'hwrng',
      'loop-control',
      'null',
      'ptmx',
      'random',
      'tty',
      'tun',
      'vsock',
      'zero',
    ];
    expect(answer(output, 'dev')).toEqual(expect.arrayContaining(names));
  });

  test('has the drivers of the devices that QEMU gives', () => {
    const drivers = [
      'virtio_balloon',
      'virtio_blk',
      'virtio_console',
      'virtio_net',
      'virtio_rng',
      'virtiofs',
      'vmw_vsock_virtio_transport',
      'virtio-pci',
      'pcieport',
      'pvpanic-pci',
    ];
    for (const name of drivers) expect(answer(output, 'drivers')).toContain(name);
  });

  test('puts layers and scratch disk together', () => {
    expect(answer(output, 'overlay')).toEqual(['changed', 'original']);
  });

  test('filters system calls, compiles BPF, and can load no module', () => {
    expect(answer(output, 'seccomp')).toEqual(expect.arrayContaining(['kill_process', 'errno', 'user_notif']));
    expect(answer(output, 'bpf')).toEqual(['1']);
    expect(answer(output, 'modules-disabled')).toEqual(['1']);
  });

  test.each(['mem', 'kmem', 'port', 'kvm', 'cpu', 'rtc0'])('has no /dev/%s', (name) => {
    expect(answer(output, 'dev')).not.toContain(name);
  });

  test('powers off: QEMU ends by itself', () => {
    expect(code).toBe(0);
  });
});

test('the compressed image boots to the same release', { timeout: BOOT_TIMEOUT_MS }, async () => {
  const { output, code } = await boot('echo "release: $(uname -r)"; poweroff -f', kernel.bzImage);
  expect(answer(output, 'release')).toEqual([kernel.release]);
  expect(code).toBe(0);
});

test('the end of init is a panic that reaches QEMU', { timeout: BOOT_TIMEOUT_MS }, async () => {
  const { output, code } = await boot('exit 3', kernel.vmlinux, [
    '-device',
    'pvpanic-pci',
    '-action',
    'panic=exit-failure',
  ]);
  expect(output).toContain('Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300');
  expect(code).toBe(1);
});
