import { describe, expect, test } from 'vitest';
import type { SpecMount } from '../../../../runtime/oci/spec.ts';
import { guestFiles } from '../../../../runtime/storage/guest-files.ts';
import type { HostSource } from '../../../../runtime/storage/host-source.ts';
import { parseMountInfo } from '../../../../runtime/storage/mount-info.ts';
import { checkMountOptions } from '../../../../runtime/storage/mount-options.ts';
import { mountSources, planMounts } from '../../../../runtime/storage/mounts.ts';
import { hostSource, tmpfsSource } from '../../../helpers/host-source.ts';

/** Plans one bind of what is at "/srv". */
function bind(found: HostSource, options: readonly string[] = ['rbind'], destination = '/data') {
  return planMounts(
    [{ destination, type: 'bind', source: '/srv', options: [...options] }],
    '',
    new Map([['/srv', found]]),
  )[0];
}

test('kernel file systems stay in the guest, others are refused by name', () => {
  const mounts: SpecMount[] = [
    { destination: '/proc', type: 'proc', source: '/host/secret', options: ['nosuid', 'hidepid=2'] },
    { destination: '/run', type: 'tmpfs', options: ['size=65536k', 'mode=755', 'tmpcopyup'] },
    {
      destination: '/sys/fs/cgroup',
      type: 'cgroup',
      source: 'cgroup',
      options: ['nosuid', 'noexec', 'relatime', 'ro'],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
  ];
  const planned = planMounts(mounts, 'c1-', new Map());
  expect(planned[0]).toEqual({ destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'hidepid=2'] });
  expect(planned.map(({ storage }) => storage)).toEqual([undefined, undefined, undefined, undefined]);
  for (const type of ['nfs', 'overlay', 'devtmpfs', 'ext4', '', '__proto__']) {
    expect(() => planMounts([{ destination: '/x', type, source: '/y' }], '', new Map())).toThrow(
      `mounts[0].type: file system '${type}'`,
    );
  }
});

test('unknown options are named, not dropped', () => {
  expect(() => checkMountOptions('tmpfs', ['lowerdir=/x'], 'mounts[2].options')).toThrow(
    "mounts[2].options: mount option 'lowerdir=/x'",
  );
  expect(() => checkMountOptions('tmpfs', ['size=1m,mode=777'], '')).toThrow();
  expect(() => checkMountOptions('bind', ['size=1m'], '')).toThrow();
  expect(() => checkMountOptions('bind', ['ridmap'], '')).toThrow("'ridmap' is not known");
  const named = ['rnosymfollow', 'rstrictatime', 'lazytime', 'iversion', 'dirsync', 'rdiratime'];
  expect(checkMountOptions('bind', named, '')).toEqual(named);
  expect(checkMountOptions('tmpfs', ['context="x"', '', 'ro'], '')).toEqual(['ro']);
});

describe('binds', () => {
  test('become shares of their own, without a path for the guest', () => {
    const mount = { destination: '/data/../data', type: 'bind', source: '/srv', options: ['rbind', 'ro', 'rslave'] };
    const [planned] = planMounts([mount], 'c1-', new Map([['/srv', hostSource('/srv')]]));
    expect(planned).toMatchObject({
      destination: '/data',
      source: '',
      storage: {
        id: 'c1-vol0',
        kind: 'share',
        share: { source: '/srv', readOnly: true, recursive: true, followsHost: true },
      },
    });
    expect(bind(hostSource('/srv'), ['bind', 'rro'])).toMatchObject({
      storage: { share: { readOnly: true, recursive: false, followsHost: false } },
    });
  });

  test('keep what the host forbids on its own mount', () => {
    const found = hostSource('/srv', { mount: { options: ['rw', 'nosuid', 'noexec', 'relatime'] } });
    expect(bind(found, ['rbind', 'rprivate'])?.options).toEqual(['nosuid', 'noexec', 'rbind', 'rprivate']);
  });

  test.each([
    [hostSource('/srv', { kind: 'socket' }), ['rbind'], /mounts\[0\].source: .*socket.*inside a virtual machine/],
    [hostSource('/srv', { kind: 'FIFO' }), ['rbind'], /it is a FIFO/],
    [hostSource('/srv', { kind: 'device' }), ['rbind'], /it is a device/],
    [hostSource('/srv', { mount: { type: 'proc' } }), ['rbind'], /host's kernel \(proc\)/],
    [hostSource('/srv', { mount: { type: 'hugetlbfs' } }), ['rbind'], /host's kernel \(hugetlbfs\)/],
    [hostSource('/srv', { kind: 'file', mount: { type: 'nsfs' } }), ['bind'], /host's kernel \(nsfs\)/],
    [hostSource('/srv'), ['rbind', 'rshared'], /mounts\[0\].options: bidirectional/],
    [hostSource('/srv'), ['bind', 'shared'], /HostToContainer/],
    [hostSource('/srv'), ['rbind', 'idmap=uids=0-1-2'], /'idmap=uids=0-1-2' is not known/],
    [hostSource('/srv'), ['rbind', 'x-mount.mkdir'], /'x-mount.mkdir' is not known/],
  ])('refuse what cannot be: %#', (found, options, message) => {
    expect(() => bind(found, options)).toThrow(message);
  });

  test('relative sources are refused with their path', () => {
    for (const source of ['y', '', './x']) {
      expect(() => mountSources([{ destination: '/x', type: 'bind', source }])).toThrow('mounts[0].source');
    }
  });

  test('an emptyDir is the same share for who writes and who reads it', () => {
    const source = '/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/work';
    const plan = (path: string, ...options: string[]) =>
      planMounts(
        [{ destination: '/w', type: 'bind', source: path, options }],
        '',
        new Map([[path, hostSource(path)]]),
      )[0];
    expect(plan(source, 'rbind', 'ro')).toMatchObject({
      options: ['rbind', 'ro'],
      storage: { kind: 'share', share: { readOnly: false } },
    });
    const secret = '/var/lib/kubelet/pods/u/volumes/kubernetes.io~secret/s';
    expect(plan(secret, 'rbind', 'ro')).toMatchObject({ storage: { share: { readOnly: true } } });
  });
});

describe('memory of the pod', () => {
  const POD = '/var/lib/kubelet/pods/8c1f';
  const VOLUME = `${POD}/volumes/kubernetes.io~empty-dir/cache`;
  const PART = `${POD}/volume-subpaths/cache/app/0`;

  test('the /dev/shm of a pod, of its size and owner', () => {
    const shm = tmpfsSource('/srv');
    expect(bind(shm, ['rbind', 'rprivate'], '/dev/shm')).toMatchObject({
      destination: '/dev/shm',
      options: ['nosuid', 'nodev', 'noexec', 'rbind', 'rprivate'],
      storage: { kind: 'tmpfs', sizeBytes: 64n << 20n, mode: 0o1777, uid: 0, gid: 0, directories: [] },
      storagePath: '',
    });
    // Elsewhere it is data of the host, as is a part of a tmpfs, and a directory on a disk.
    expect(bind(shm, ['rbind'], '/data')).toMatchObject({ storage: { kind: 'share' } });
    const part = hostSource('/srv', { mount: { type: 'tmpfs', point: '/', root: '/' } });
    expect(bind(part, ['rbind'], '/dev/shm')).toMatchObject({ storage: { kind: 'share' } });
    expect(bind(hostSource('/srv'), ['rbind'], '/dev/shm')).toMatchObject({ storage: { kind: 'share' } });
  });

  test('an emptyDir in memory is one tmpfs for all, and its sub-paths are in it', () => {
    const volume = tmpfsSource(VOLUME, { mode: 0o2777, gid: 2000 });
    const part = hostSource(PART, {
      device: volume.device,
      mode: 0o750,
      gid: 2000,
      mount: { type: 'tmpfs', root: '/a/b', point: PART },
    });
    const mounts: SpecMount[] = [
      { destination: '/whole', type: 'bind', source: VOLUME, options: ['rbind'] },
      { destination: '/part', type: 'bind', source: PART, options: ['rbind', 'ro'] },
    ];
    expect(mountSources(mounts).map(({ path, optional }) => [path, optional])).toEqual([
      [VOLUME, false],
      [PART, false],
      [VOLUME, true],
    ]);
    const sources = new Map([
      [VOLUME, volume],
      [PART, part],
    ]);
    const [whole, sub] = planMounts(mounts, 'c4-', sources);
    expect(whole).toMatchObject({ storage: { kind: 'tmpfs', mode: 0o2777, gid: 2000 }, storagePath: '' });
    expect(sub).toMatchObject({
      storage: { kind: 'tmpfs', directories: [{ path: 'a/b', mode: 0o750, gid: 2000 }] },
      storagePath: 'a/b',
    });
    expect(sub?.storage?.id).toBe(whole?.storage?.id);
    expect(JSON.stringify(whole?.storage?.id)).not.toContain('kubelet');
    const [other] = planMounts(mounts.slice(0, 1), 'c9-', new Map([[VOLUME, tmpfsSource(VOLUME, { device: 78n })]]));
    expect(other?.storage?.id).not.toBe(whole?.storage?.id);
  });

  test('secrets are tmpfs too, but data of the host, also in parts', () => {
    const secret = `${POD}/volumes/kubernetes.io~secret/cache`;
    const plan = (source: string, sources: ReadonlyMap<string, HostSource>) =>
      planMounts([{ destination: '/s', type: 'bind', source, options: ['rbind'] }], '', sources)[0];
    expect(plan(secret, new Map([[secret, tmpfsSource(secret)]]))).toMatchObject({ storage: { kind: 'share' } });
    const part = hostSource(PART, { device: 5n, mount: { type: 'tmpfs', root: '/k', point: PART } });
    expect(plan(PART, new Map([[PART, part]]))).toMatchObject({ storage: { kind: 'share' } });
    const another = new Map([
      [PART, part],
      [VOLUME, tmpfsSource(VOLUME)],
    ]);
    expect(plan(PART, another)).toMatchObject({ storage: { kind: 'share' } });
  });
});

test('the table of mounts is read with its escapes', () => {
  const text = [
    '36 35 98:0 /a\\040b /mnt\\011x rw,noatime master:1 - ext3 /dev/root rw,errors=continue',
    '37 36 0:5 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=64k',
    'nonsense',
    '',
  ].join('\n');
  const mounts = parseMountInfo(text);
  expect([...mounts.keys()]).toEqual([36, 37]);
  expect(mounts.get(36)).toEqual({ id: 36, root: '/a b', point: '/mnt\tx', options: ['rw', 'noatime'], type: 'ext3' });
});

test('files of the network leave mounted ones alone', () => {
  const files = guestFiles(
    { hostname: 'h', addresses: ['10.0.0.2'], nameServers: ['1.1.1.1'] },
    new Set(['/etc/hostname']),
  );
  const text = new Map(files.map(({ destination, content }) => [destination, new TextDecoder().decode(content)]));
  expect([...text.keys()]).toEqual(['/etc/hosts', '/etc/resolv.conf']);
  expect(text.get('/etc/hosts')).toContain('10.0.0.2\th\n');
  expect(text.get('/etc/resolv.conf')).toBe('nameserver 1.1.1.1\n');
});
