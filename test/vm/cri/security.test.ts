/**
 * The security context of containers by CRI, each case on runc and on tskata: users and groups, capabilities, filters of
 * system calls, read-only roots, masked paths, privileges inside the machine. What was seen must be equal but for
 * fixtures/security-differences.ts.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Init } from '../../../agent/protocol/message.ts';
import { Containerd } from '../../helpers/containerd.ts';
import { Comparison } from '../../helpers/cri/comparison.ts';
import { type LinuxContainerSecurityContext, ProfileType } from '../../helpers/cri/generated/cri.ts';
import { type Handler, Pod } from '../../helpers/cri/pod.ts';
import { SECURITY_DIFFERENCES } from './fixtures/security-differences.ts';

// For a machine with several times more work than cores.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

type Context = Init<LinuxContainerSecurityContext>;

const HANDLERS: readonly Handler[] = ['runc', 'tskata'];
const WHO = "id; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
const tries = (...commands: readonly string[]) => commands.map((command) => `${command}; echo "$? "`).join('; ');
/** What kubelet asks for a container that is not privileged. */
const PATHS: Context = {
  maskedPaths: ['/proc/acpi', '/proc/kcore', '/proc/keys', '/proc/timer_list', '/sys/firmware'],
  readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
};

let containerd: Containerd;
let profile: string;
const comparison = new Comparison();

beforeAll(async () => {
  containerd = await Containerd.start();
  profile = join(containerd.directory, 'no-mkdir.json');
  const refused = { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 95 };
  writeFileSync(profile, JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [refused] }));
});

afterAll(() => containerd?.dispose());

/** Name, context, script. */
const CASES: readonly (readonly [string, Context | (() => Context), string])[] = [
  ['nothing asked', {}, WHO],
  [
    'user and groups',
    { runAsUser: { value: 1000n }, runAsGroup: { value: 2000n }, supplementalGroups: [3000n, 4000n] },
    WHO,
  ],
  ['user by name', { runAsUsername: 'www-data' }, WHO],
  ['no capabilities', { capabilities: { dropCapabilities: ['ALL'] } }, `${WHO}; chown 1 /tmp; ping -c1 127.0.0.1`],
  [
    'one capability',
    { capabilities: { dropCapabilities: ['ALL'], addCapabilities: ['NET_ADMIN'] } },
    `${WHO}; ip link add d0 type veth peer name d1 && ip link del d0; chown 1 /tmp`,
  ],
  ['no new privileges', { noNewPrivs: true, runAsUser: { value: 1000n } }, WHO],
  ['read-only root', { readonlyRootfs: true }, tries('touch /file', 'mkdir /tmp/d', 'touch /dev/shm/file')],
  [
    'the default filter',
    { seccomp: { profileType: ProfileType.RUNTIME_DEFAULT } },
    `${WHO}; ${tries('unshare -U true', 'mkdir /tmp/d')}`,
  ],
  [
    "the node's filter",
    () => ({ seccomp: { profileType: ProfileType.LOCALHOST, localhostRef: profile } }),
    `${WHO}; ${tries('mkdir /tmp/d', 'touch /tmp/f')}`,
  ],
  ['no filter', { seccomp: { profileType: ProfileType.UNCONFINED } }, `${WHO}; ${tries('unshare -U true')}`],
  [
    'masked and read-only paths',
    PATHS,
    tries(
      'cat /proc/keys',
      'cat /proc/timer_list',
      'ls /sys/firmware',
      'echo 1 > /proc/sys/vm/drop_caches',
      'echo x > /proc/sysrq-trigger',
    ),
  ],
  // A kernel without /proc/kcore has no link to it.
  ['devices', {}, "ls -l /dev | grep -v kcore | awk '{ print $1, $5, $6, $NF }'"],
];

describe.each(HANDLERS)('on %s', (handler) => {
  let pod: Pod;
  const see = (name: string, value: string) => comparison.see(handler, name, value);

  beforeAll(async () => {
    pod = await Pod.run(containerd, handler, { linux: { securityContext: { privileged: true } } });
  });

  afterAll(() => pod?.remove());

  test.each(CASES)('%s', async (name, context, script) => {
    const securityContext = typeof context === 'function' ? context() : context;
    const { stdout, stderr } = await pod.shell(`( ${script} ) 2>&1`, { linux: { securityContext } });
    see(name, stdout + stderr);
    expect(stdout).not.toBe('');
  });

  test('a program of an exec has what its container has', async () => {
    const securityContext: Context = {
      runAsUser: { value: 1000n },
      runAsGroup: { value: 2000n },
      supplementalGroups: [3000n],
      noNewPrivs: true,
      seccomp: { profileType: ProfileType.RUNTIME_DEFAULT },
      capabilities: { dropCapabilities: ['ALL'], addCapabilities: ['NET_BIND_SERVICE'] },
    };
    const container = await pod.start({ name: 'exec', linux: { securityContext }, command: ['sleep', '1000'] });
    see('exec', await container.output(WHO));
    await container.stop();
  });

  test('a privileged container has every right, in its machine', async () => {
    const script = [
      'grep CapEff /proc/self/status',
      tries('mkdir -p /mnt/t', 'mount -t tmpfs none /mnt/t', 'touch /mnt/t/f', 'umount /mnt/t'),
      tries('echo 1 > /proc/sys/net/ipv4/ip_forward', 'test -w /sys/kernel/mm/transparent_hugepage/enabled'),
      tries('mknod /dev/other c 1 3', 'echo x > /dev/other', 'test -c /dev/other', 'unshare -U true'),
    ];
    const { stdout } = await pod.shell(`( ${script.join('; ')} ) 2>&1`, {
      linux: { securityContext: { privileged: true } },
    });
    see('privileged', stdout);
    const node = await pod.shell('mknod /tmp/node c 1 3 2>&1', { linux: { securityContext: { privileged: true } } });
    see('a device node in the root', `${node.status} ${node.stdout}`);
  });
});

test('both runtimes showed the same, but for what is listed', () => {
  expect(comparison.problems(SECURITY_DIFFERENCES)).toEqual([]);
});
