/** What a container engine would ask of the agent by default, for a program of a test: storages, process, container. */
import type { ContainerSpec, Process, Storage } from '../../agent/protocol/generated/agent.ts';
import type { Init } from '../../agent/protocol/message.ts';
import { diskPath } from './agent-vm.ts';

/** Storages of a root made of the disks 0 (layer) and 1 (scratch), with ids that begin with `prefix`. */
export function rootStorages(prefix: string, layer = 0, scratch = 1): Init<Storage>[] {
  return [
    { id: `${prefix}-layer`, block: { pciPath: diskPath(layer), fsType: 'squashfs', readOnly: true } },
    { id: `${prefix}-scratch`, block: { pciPath: diskPath(scratch), fsType: 'ext4', readOnly: false } },
    { id: `${prefix}-root`, overlay: { lowerIds: [`${prefix}-layer`], upperId: `${prefix}-scratch` } },
  ];
}

/** Capabilities that a container engine gives by default. */
const DEFAULT_CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
];

/** A process with an engine's defaults. */
export function testProcess(args: readonly string[], change: Init<Process> = {}): Init<Process> {
  return {
    args,
    env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    cwd: '/',
    capabilities: {
      bounding: DEFAULT_CAPABILITIES,
      effective: DEFAULT_CAPABILITIES,
      permitted: DEFAULT_CAPABILITIES,
    },
    ...change,
  };
}

/** A container with an engine's defaults: mounts, namespaces, masked paths. */
export function testSpec(args: readonly string[], change: Init<ContainerSpec> = {}): Init<ContainerSpec> {
  return {
    process: testProcess(args),
    hostname: 'test',
    namespaces: ['mount', 'pid', 'ipc', 'uts', 'cgroup'],
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
      },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
      },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      {
        destination: '/sys/fs/cgroup',
        type: 'cgroup',
        source: 'cgroup',
        options: ['nosuid', 'noexec', 'nodev', 'relatime', 'ro'],
      },
      { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
      {
        destination: '/dev/shm',
        type: 'tmpfs',
        source: 'shm',
        options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k'],
      },
    ],
    maskedPaths: ['/proc/acpi', '/proc/kcore', '/proc/keys', '/proc/timer_list', '/proc/scsi', '/sys/firmware'],
    readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
    ...change,
  };
}
