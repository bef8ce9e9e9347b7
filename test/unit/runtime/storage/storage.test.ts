import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DiskSlots } from '../../../../runtime/storage/disk-slots.ts';
import { guestFiles } from '../../../../runtime/storage/guest-files.ts';
import { checkMountOptions } from '../../../../runtime/storage/mount-options.ts';
import { planMounts } from '../../../../runtime/storage/mounts.ts';
import { planRootfs } from '../../../../runtime/storage/rootfs.ts';
import { type HostMounts, ShareTree } from '../../../../runtime/storage/share-tree.ts';

const root = (mounts: readonly { type: string; source: string; options: readonly string[] }[], readOnly = false) =>
  planRootfs({ mounts, bundleRoot: '/bundle/rootfs', readOnly, idPrefix: 'c0-' });

describe('the root of a container', () => {
  test('layers and a scratch disk become an overlay', () => {
    const plan = root([
      { type: 'squashfs', source: '/l0', options: ['ro'] },
      { type: 'erofs', source: '/l1', options: [] },
      { type: 'ext4', source: '/s', options: ['rw'] },
    ]);
    expect(plan.rootfsId).toBe('c0-root');
    expect(plan.storages.at(-1)).toEqual({
      kind: 'overlay',
      id: 'c0-root',
      lowerIds: ['c0-disk0', 'c0-disk1'],
      upperId: 'c0-disk2',
    });
    expect(plan.storages[1]).toMatchObject({ disk: { path: '/l1', readOnly: true } });
  });

  test('one disk is the root itself; layers alone are a read-only overlay', () => {
    expect(root([{ type: 'ext4', source: '/s', options: [] }])).toMatchObject({ rootfsId: 'c0-disk0' });
    const plan = root([
      { type: 'squashfs', source: '/a', options: [] },
      { type: 'squashfs', source: '/b', options: [] },
    ]);
    expect(plan.storages.at(-1)).toMatchObject({ upperId: '', lowerIds: ['c0-disk0', 'c0-disk1'] });
  });

  test('an empty, bind or unknown source is never a disk', () => {
    expect(root([]).storages).toMatchObject([{ kind: 'share', share: { source: '/bundle/rootfs' } }]);
    expect(root([{ type: 'bind', source: '/dev/sda', options: ['rbind', 'ro'] }]).storages).toMatchObject([
      { kind: 'share', share: { source: '/dev/sda', readOnly: true } },
    ]);
    for (const type of ['', 'overlay', 'xfs', '__proto__']) {
      expect(() => root([{ type, source: '/x', options: [] }])).toThrow('no way to bring them into the guest');
    }
    expect(() => root([{ type: 'squashfs', source: 'relative', options: [] }])).toThrow('not an absolute path');
    expect(() =>
      root([
        { type: 'ext4', source: '/a', options: ['rw'] },
        { type: 'ext4', source: '/b', options: ['rw'] },
      ]),
    ).toThrow('second writable disk');
  });
});

describe('mounts of a configuration', () => {
  test('binds need the host, kernel file systems do not, others are refused by name', () => {
    const planned = planMounts(
      [
        { destination: '/proc', type: 'proc', source: '/host/secret', options: ['nosuid', 'hidepid=2'] },
        { destination: '/data/../data', source: '/srv', options: ['rbind', 'ro', 'rslave'] },
        { destination: '/run', type: 'tmpfs', options: ['size=65536k', 'mode=755', 'tmpcopyup'] },
      ],
      'c1-',
    );
    expect(planned[0]).toEqual({
      destination: '/proc',
      type: 'proc',
      source: 'proc',
      options: ['nosuid', 'hidepid=2'],
    });
    expect(planned[1]).toMatchObject({
      destination: '/data',
      source: '',
      storage: { id: 'c1-vol1', share: { source: '/srv', readOnly: true, recursive: true, followsHost: true } },
    });
    for (const type of ['nfs', 'overlay', 'devtmpfs', 'ext4', '', '__proto__']) {
      expect(() => planMounts([{ destination: '/x', type, source: '/y' }], '')).toThrow(
        `mounts[0].type: file system '${type}'`,
      );
    }
    expect(() => planMounts([{ destination: '/x', type: 'bind', source: 'y' }], '')).toThrow('not an absolute path');
  });

  test('unknown options are named, not dropped', () => {
    expect(() => checkMountOptions('tmpfs', ['lowerdir=/x'], 'mounts[2].options')).toThrow(
      "mounts[2].options: mount option 'lowerdir=/x'",
    );
    expect(() => checkMountOptions('tmpfs', ['size=1m,mode=777'], '')).toThrow();
    expect(() => checkMountOptions('bind', ['size=1m'], '')).toThrow();
    expect(checkMountOptions('tmpfs', ['context="x"', '', 'ro'], '')).toEqual(['ro']);
  });
});

test('disk slots: layers in order, the writable disk in its own, none beyond nine', () => {
  const slots = new DiskSlots();
  expect(slots.take({ path: '/s', readOnly: false }).slot).toBe(8);
  for (let slot = 0; slot < 8; slot++) expect(slots.take({ path: `/${slot}`, readOnly: true }).slot).toBe(slot);
  expect(() => slots.take({ path: '/more', readOnly: true })).toThrow('/more - all 9 disk slots are taken');
  slots.release(3);
  expect(slots.take({ path: '/again', readOnly: true }).slot).toBe(3);
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

describe('the share', () => {
  let directory: string;
  let calls: string[];
  let mounts: HostMounts;
  let tree: ShareTree;
  const request = { readOnly: false, recursive: true, followsHost: false };

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tskata-share-'));
    calls = [];
    mounts = {
      mount: ({ source, target, options }) => {
        calls.push(`mount ${source} ${target.slice(directory.length)} ${options.join(',')}`);
        return Promise.resolve();
      },
      unmount: (target) => {
        calls.push(`unmount ${target.slice(directory.length)}`);
        return Promise.resolve();
      },
    };
    tree = new ShareTree(join(directory, 'share'), mounts);
  });

  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  test('shows directories and files under names of its own', async () => {
    const file = join(directory, 'file');
    writeFileSync(file, 'text');
    symlinkSync(file, join(directory, 'link'));
    const first = await tree.add({ ...request, source: directory, readOnly: true });
    const second = await tree.add({ ...request, source: join(directory, 'link'), recursive: false, followsHost: true });
    expect([first, second]).toEqual([
      { directory: '1', leaf: 'd' },
      { directory: '2', leaf: 'f' },
    ]);
    expect(calls).toEqual([
      `mount ${directory}/share /share bind,ro,nosuid,nodev`,
      `mount ${directory} /share/1/d rbind,rprivate,ro,nodev`,
      `mount ${directory}/link /share/2/f bind,rslave,nodev`,
    ]);
    await tree.remove(first);
    await tree.remove(second);
    expect(readdirSync(join(directory, 'share'))).toEqual([]);
    expect(readFileSync(file, 'utf8')).toBe('text');
  });

  test('a failed bind leaves nothing, and removal never takes what is not ours', async () => {
    mounts.mount = () => Promise.reject(new Error('EPERM'));
    await expect(
      new ShareTree(join(directory, 'other'), mounts).add({ ...request, source: directory }),
    ).rejects.toThrow('EPERM');
    mounts.mount = () => Promise.resolve();
    const entry = await tree.add({ ...request, source: directory });
    // As if the bind were visible here: a full directory.
    const target = join(directory, 'share', entry.directory, 'd');
    mkdirSync(join(target, 'precious'));
    await tree.remove(entry);
    expect(existsSync(join(target, 'precious'))).toBe(true);
  });

  test('missing paths, devices and sockets are refused by name', async () => {
    await expect(tree.add({ ...request, source: join(directory, 'none') })).rejects.toThrow('create it first');
    await expect(tree.add({ ...request, source: '/dev/null' })).rejects.toThrow('it is a device');
  });
});
