import { describe, expect, test } from 'vitest';
import { DiskSlots } from '../../../../runtime/storage/disk-slots.ts';
import { rootSources } from '../../../../runtime/storage/host-directory.ts';
import type { RootfsMount } from '../../../../runtime/storage/plan.ts';
import { planRootfs } from '../../../../runtime/storage/rootfs.ts';
import { hostSource } from '../../../helpers/host-source.ts';

const SOURCES = new Map([
  ['/bundle/rootfs', hostSource('/bundle/rootfs')],
  ['/snapshot', hostSource('/snapshot')],
  ['/dev/sda', hostSource('/dev/sda', { kind: 'device' })],
  ['/file', hostSource('/file', { kind: 'file' })],
]);

const root = (mounts: readonly RootfsMount[], readOnly = false) =>
  planRootfs({ mounts, sources: SOURCES, bundleRoot: '/bundle/rootfs', readOnly, idPrefix: 'c0-' });

describe('disks', () => {
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
    expect(plan.storages[1]).toMatchObject({ disk: { path: '/l1', readOnly: true, ephemeral: false } });
    expect(plan.storages[2]).toMatchObject({ disk: { path: '/s', readOnly: false, ephemeral: true } });
  });

  test('one disk is the root itself, and its data is kept', () => {
    const plan = root([{ type: 'ext4', source: '/dev/mapper/x', options: ['rw', 'noatime'] }]);
    expect(plan).toMatchObject({
      rootfsId: 'c0-disk0',
      storages: [{ kind: 'block', fsType: 'ext4', disk: { path: '/dev/mapper/x', readOnly: false, ephemeral: false } }],
    });
    expect(root([{ type: 'ext4', source: '/s', options: ['ro'] }]).storages).toMatchObject([
      { disk: { readOnly: true } },
    ]);
  });

  test('layers alone are a read-only overlay', () => {
    const plan = root([
      { type: 'squashfs', source: '/a', options: [] },
      { type: 'squashfs', source: '/b', options: [] },
    ]);
    expect(plan.storages.at(-1)).toMatchObject({ upperId: '', lowerIds: ['c0-disk0', 'c0-disk1'] });
  });

  test('only the type of a mount makes a disk of it', () => {
    expect(() => root([{ type: 'bind', source: '/dev/sda', options: ['rbind', 'ro'] }])).toThrow('not a directory');
    for (const type of ['', 'btrfs', '__proto__', 'nfs']) {
      expect(() => root([{ type, source: '/dev/sda', options: [] }])).toThrow('no way to bring them into the guest');
    }
    // mount(8)'s way to say bind does not go with a disk's type.
    expect(() => root([{ type: 'ext4', source: '/dev/sda', options: ['bind'] }])).toThrow("option 'bind'");
  });

  test('relative sources, second writable disks and unknown options are refused', () => {
    const disk = (source: string, ...options: string[]) => ({ type: 'ext4', source, options });
    expect(() => root([disk('relative')])).toThrow('not an absolute path');
    expect(() => root([disk('')])).toThrow('not an absolute path');
    expect(() => root([disk('/a', 'rw'), disk('/b', 'rw')])).toThrow('second writable disk');
    expect(() => root([disk('/a', 'usrjquota=x')])).toThrow("option 'usrjquota=x' is not known");
  });

  test('slots: layers in order, the writable disk in its own, none beyond nine', () => {
    const stuck = new Set<number>();
    const slots = new DiskSlots((slot) => stuck.has(slot));
    const take = (path: string, readOnly: boolean) => slots.take({ path, readOnly, ephemeral: !readOnly });
    expect(take('/s', false)).toEqual({ slot: 8, path: '/s', readOnly: false, ephemeral: true });
    for (let slot = 0; slot < 8; slot++) expect(take(`/${slot}`, true).slot).toBe(slot);
    expect(() => take('/more', true)).toThrow('/more - all 9 disk slots are taken');
    slots.release(3);
    expect(take('/again', true).slot).toBe(3);
    // The machine still has the disk: the slot is free when it is gone, and not before.
    slots.release(3);
    stuck.add(3);
    expect(() => take('/early', true)).toThrow('/early - all 9 disk slots are taken');
    stuck.clear();
    expect(take('/late', true).slot).toBe(3);
  });
});

describe('a directory of the host', () => {
  test('is the bundle root when nothing is mounted, read-only when the configuration says so', () => {
    expect(rootSources([], '/bundle/rootfs')).toEqual([
      { path: '/bundle/rootfs', where: 'root.path', optional: false },
    ]);
    expect(root([]).storages).toMatchObject([
      { kind: 'share', whole: true, share: { source: '/bundle/rootfs', readOnly: false } },
    ]);
    expect(root([], true).storages).toMatchObject([{ share: { readOnly: true } }]);
  });

  test('is one bind mount, read-only when it was mounted so: mount points may have to be made in it', () => {
    const mount = (...options: string[]) => ({ type: 'bind', source: '/snapshot', options });
    expect(rootSources([mount('rbind', 'rw')], '/b')).toMatchObject([{ path: '/snapshot' }]);
    expect(root([mount('rbind', 'rw')], true).storages).toMatchObject([
      { share: { source: '/snapshot', readOnly: false, recursive: true, followsHost: false } },
    ]);
    expect(root([mount('rbind', 'ro')]).storages).toMatchObject([{ share: { readOnly: true } }]);
    expect(() => root([{ ...mount('rbind'), source: '/file' }])).toThrow('it is a file, not a directory');
    expect(() => rootSources([{ ...mount('rbind'), source: 'x' }], '/b')).toThrow('not an absolute path');
    expect(() => rootSources([{ ...mount('rbind'), source: '' }], '/b')).toThrow('not an absolute path');
  });
});

describe('an overlay of the host', () => {
  const overlay = (...options: string[]) => root([{ type: 'overlay', source: 'overlay', options }]);
  const paths = ['workdir=/s/3/work', 'upperdir=/s/3/fs', 'lowerdir=/s/2/fs:/s/1/fs'];

  test('is one share with the options that containerd gives', () => {
    expect(overlay('index=off', 'userxattr', ...paths)).toEqual({
      rootfsId: 'c0-root',
      storages: [
        {
          kind: 'share',
          id: 'c0-root',
          whole: true,
          share: {
            kind: 'overlay',
            readOnly: false,
            options: ['lowerdir=/s/2/fs:/s/1/fs', 'upperdir=/s/3/fs', 'workdir=/s/3/work', 'index=off', 'userxattr'],
          },
        },
      ],
    });
    expect(overlay('lowerdir=/a:/b').storages).toMatchObject([{ share: { options: ['lowerdir=/a:/b'] } }]);
    expect(rootSources([{ type: 'overlay', source: 'overlay', options: paths }], '/b')).toEqual([]);
  });

  test.each([
    [['lowerdir='], 'is not an absolute path'],
    [['upperdir=/u', 'workdir=/w'], '0 lower layers'],
    [['lowerdir=/a', 'upperdir=/u'], 'go together'],
    [['lowerdir=/a', 'workdir=/u'], 'go together'],
    [['lowerdir=/a::/data'], "'' is not an absolute path"],
    [['lowerdir=/a:b'], "'b' is not an absolute path"],
    [['lowerdir=/a,upperdir=/etc'], 'is not an absolute path'],
    [['lowerdir=/a', 'lowerdir=/b'], 'there are 2 options lowerdir'],
    [[...paths, 'redirect_dir=/etc'], "option 'redirect_dir=/etc' is not known"],
    [[...paths, 'datadir+=/etc'], "option 'datadir+=/etc' is not known"],
    [[...paths, 'constructor'], "option 'constructor' is not known"],
    [[`lowerdir=${Array.from({ length: 501 }, () => '/a').join(':')}`], '501 lower layers'],
  ])('refuses %j', (options, message) => {
    expect(() => overlay(...options)).toThrow(message);
  });
});
