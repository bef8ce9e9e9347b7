/** The spawn plans of containers, reviewed like code: a changed file here is a changed policy. */
import { describe, expect, test } from 'vitest';
import { planExec } from '../../../agent/container/plan/exec.ts';
import { type InitInput, planInit } from '../../../agent/container/plan/init.ts';
import { planLookup } from '../../../agent/container/plan/lookup.ts';
import { planNamespaces } from '../../../agent/container/plan/namespaces.ts';
import type { ContainerSpec, NamespaceName } from '../../../agent/container/spec.ts';
import { ContainerSpec as Message } from '../../../agent/protocol/generated/agent.ts';
import { convertSpec } from '../../../agent/service/convert.ts';
import { planCopyUp } from '../../../agent/storage/copy-up.ts';
import { planUserNamespace } from '../../../agent/storage/id-map.ts';
import { planBlock, planForget, planOverlay, planShare, planTmpfs, planUnmount } from '../../../agent/storage/plans.ts';
import { planDirectories, planSharedTmpfs } from '../../../agent/storage/shared-tmpfs.ts';
import type { SpawnPlan } from '../../../agent/sys/plan.ts';
import { testSpec } from '../../helpers/container-defaults.ts';
import { planText } from '../../helpers/plan-text.ts';

const golden = (plan: SpawnPlan, name: string) => expect(planText(plan)).toMatchFileSnapshot(`./${name}.plan.txt`);

function spec(change: Partial<Message> = {}): ContainerSpec {
  const message = Message.create(testSpec(['sh', '-c', 'true'], change));
  return convertSpec(message, (_field, id) => ({
    path: `/run/tskata/storage/${id}`,
    subpath: '',
    readOnly: id === 'ro',
  }));
}

function input(container: ContainerSpec, change: Partial<InitInput> = {}): InitInput {
  return {
    containerId: 'c1',
    spec: container,
    namespaces: planNamespaces(container.namespaces, false),
    rootfs: { path: '/run/tskata/storage/root', subpath: '' },
    mountPoint: '/run/tskata/containers/c1/root',
    files: [],
    identity: { uid: 0, gid: 0, groups: [] },
    env: container.process.env,
    cgroupPath: '/sys/fs/cgroup/tskata/c1',
    cgroupFd: 20,
    stdio: [10, 11, 12],
    ...change,
  };
}

describe('init', () => {
  test("of a container with an engine's defaults", () => golden(planInit(input(spec())), 'init-default'));

  test('with every namespace, mappings, a terminal, read-only root and a filter', () => {
    const map = [{ containerId: 0, hostId: 100_000, size: 65_536 }];
    const names: NamespaceName[] = ['mount', 'pid', 'network', 'ipc', 'uts', 'user', 'cgroup', 'time'];
    const container = spec({
      namespaces: names,
      uidMappings: map,
      gidMappings: map,
      rootReadonly: true,
      rootfsPropagation: 'rshared',
      sysctls: new Map([['net.ipv4.ip_forward', '1']]),
    });
    const process = { ...container.process, terminal: true, rows: 24, columns: 80, noNewPrivileges: true };
    const { stdio: _, ...rest } = input(
      { ...container, process },
      {
        identity: { uid: 1000, gid: 1000, groups: [5, 6] },
        filter: { bytes: new Uint8Array(16), flags: 0 },
        nodeDirectory: '/run/tskata/nodes',
        files: [{ destination: '/etc/hosts', path: '/run/tskata/containers/c1/files/0' }],
      },
    );
    return golden(planInit(rest), 'init-full');
  });

  test('with volumes, devices and limits', () => {
    const container = spec({
      mounts: [
        {
          destination: '/data',
          type: 'bind',
          source: '',
          options: ['rbind', 'rshared', 'rro', 'nosuid'],
          storageId: 'vol',
          storagePath: 'a/b',
          isFile: false,
        },
        {
          destination: '/file',
          type: 'bind',
          source: '',
          options: ['bind'],
          storageId: 'ro',
          storagePath: 'f',
          isFile: true,
        },
        {
          destination: '/cache',
          type: 'tmpfs',
          source: 'tmpfs',
          options: ['noexec', 'size=1m', 'noatime'],
          storageId: '',
          storagePath: '',
          isFile: false,
        },
      ],
      devices: [{ type: 'b', path: '/dev/disk/one', major: 8n, minor: 1n, fileMode: 0o660, uid: 0, gid: 6 }],
    });
    const process = {
      ...container.process,
      rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024n, hard: 4096n }],
      umask: 0o77,
      cwd: '/srv/app',
    };
    return golden(planInit(input({ ...container, process })), 'init-volumes');
  });

  test('that shares namespaces with the sandbox', () => {
    const container = spec({ namespaces: ['mount'] });
    const namespaces = planNamespaces(container.namespaces, true);
    return golden(planInit(input(container, { namespaces, enter: [{ fd: 30, type: 0x2000_0000 }] })), 'init-shared');
  });
});

describe('exec', () => {
  const base = {
    identity: { uid: 0, gid: 0, groups: [] },
    initPidfd: 40,
    joinFlags: planNamespaces(['mount', 'pid'], false).joinFlags,
    cgroupFd: 20,
  };

  test('with pipes', () => {
    const { process } = spec();
    return golden(
      planExec({ ...base, process, env: process.env, stdio: [10, 11, 12], cgroupNamespaceFd: 41 }),
      'exec-pipes',
    );
  });

  test('with a terminal in a user namespace', () => {
    const process = { ...spec().process, terminal: true, rows: 5, columns: 6 };
    const joinFlags = planNamespaces(['user'], false).joinFlags;
    return golden(
      planExec({ ...base, joinFlags, process, env: process.env, identity: { uid: 7, gid: 8, groups: [9] } }),
      'exec-terminal',
    );
  });
});

describe('other children', () => {
  test('look up users', () =>
    golden(
      planLookup({ root: '/run/tskata/storage/root', subpath: 'sub', cgroupFd: 20, passwdFd: 5, groupFd: 6 }),
      'lookup',
    ));
  test('hold a user namespace', () => golden(planUserNamespace(), 'user-namespace'));
  test('mount disks', () => golden(planBlock('/dev/vda', 'ext4', false, '/run/tskata/storage/s'), 'storage-ext4'));
  test('mount layers', () =>
    golden(planBlock('/dev/vdb', 'squashfs', true, '/run/tskata/storage/l'), 'storage-squashfs'));
  test('mount shares', () => golden(planShare('tag', '/run/tskata/shares/tag'), 'storage-share'));
  test('mount tmpfs', () => golden(planTmpfs(1n << 20n, '/run/tskata/storage/t'), 'storage-tmpfs'));
  test('mount tmpfs of the sandbox', () => {
    const directories = [{ path: 'a/b', mode: 0o2770, uid: 5, gid: 2000 }];
    const message = { sizeBytes: 65_536n, shared: true, mode: 0o1777, uid: 0, gid: 2000, directories };
    return golden(planSharedTmpfs(message, '/run/tskata/storage/memory-1'), 'storage-memory');
  });
  test('make directories of a tmpfs', () => {
    const directories = [{ path: 'a/b', mode: 0o2770, uid: 5, gid: 2000 }];
    return golden(planDirectories(directories, '/run/tskata/storage/memory-1'), 'storage-directories');
  });
  test('forget names of a share', () => golden(planForget('/run/tskata/shares/t', ['3', '4']), 'storage-forget'));
  test('mount overlays', () =>
    golden(planOverlay({ lowers: ['/l0', '/l1'], upper: '/u', target: '/t' }), 'storage-overlay'));
  test('mount one layer', () => golden(planOverlay({ lowers: ['/l0'], target: '/t' }), 'storage-single'));
  test('mount overlays with mapped owners', () => {
    const idMap = { fd: 33, uid: 100_000, gid: 100_000 };
    return golden(planOverlay({ lowers: ['/l0', '/l1'], upper: '/u', target: '/t', idMap }), 'storage-mapped');
  });
  test('copy a directory to its tmpfs', () => {
    const mount = {
      destination: '/var/x',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['tmpcopyup', 'size=1m', 'noexec'],
      subpath: '',
      isFile: false,
    };
    const root = { path: '/run/tskata/storage/root', subpath: 'sub' };
    return golden(planCopyUp({ root, mount, target: '/run/tskata/containers/c1/tmpfs-0', cgroupFd: 20 }), 'copy-up');
  });
  test('unmount', () =>
    golden(planUnmount(['/run/tskata/storage/a', '/run/tskata/storage/b'], true), 'storage-unmount'));
});
