/**
 * Roots as containerd's snapshotters give them to Create, without containerd: overlays, views, directories, block
 * devices - and mounts that must never become a disk.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeBusyboxRoot } from '../../helpers/busybox-root.ts';
import { PodShim } from '../../helpers/pod-shim.ts';

let pod: PodShim;

beforeAll(async () => {
  pod = new PodShim();
  await pod.start('pause', {
    rootfs: [{ type: 'bind', source: writeBusyboxRoot(path('pause')), options: ['rbind', 'rw'] }],
  });
});

afterAll(async () => {
  await pod.dispose();
});

const path = (...names: string[]): string => join(pod.directory, ...names);

/** Directories of an overlay, with a file in each layer. */
function overlay(name: string, layers: number): { upper: string; options: string[] } {
  const lowers = Array.from({ length: layers }, (_, index) => path(name, `${index}`));
  for (const [index, lower] of lowers.entries()) {
    mkdirSync(lower, { recursive: true });
    writeFileSync(join(lower, `layer${index}`), `${index}\n`);
    writeFileSync(join(lower, 'top'), `${index}\n`);
  }
  writeBusyboxRoot(lowers[0] ?? '');
  const [upper, work] = [path(name, 'upper'), path(name, 'work')];
  mkdirSync(upper);
  mkdirSync(work);
  const lowerdir = `lowerdir=${lowers.toReversed().join(':')}`;
  return { upper, options: ['index=off', `workdir=${work}`, `upperdir=${upper}`, lowerdir] };
}

/** A block device over a new file. */
function loopDevice(image: string): string {
  const loop = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
  pod.atEnd(() => execFileSync('losetup', ['-d', loop]));
  return loop;
}

test('an overlay snapshot: layers, whiteouts, and writes that are in the upper layer on the host', async () => {
  const { upper, options } = overlay('snapshot', 3);
  const rootfs = [{ type: 'overlay', source: 'overlay', options }];
  const line =
    'cat /top /layer0; rm /layer1; echo new > /layer2; mkdir /etc/deep; chown 7:8 /etc/deep; chmod 4755 /bin/busybox';
  expect(await pod.run(line, { rootfs })).toEqual({ status: 0, output: '2\n0\n' });
  expect(readFileSync(join(upper, 'layer2'), 'utf8')).toBe('new\n');
  const facts = (...names: string[]): string =>
    execFileSync('stat', ['-c', '%F %t:%T %u:%g %a', ...names.map((name) => join(upper, name))], { encoding: 'utf8' });
  expect(facts('layer1', 'etc/deep', 'bin/busybox').trim().split('\n')).toEqual([
    'character special file 0:0 0:0 0',
    'directory 0:0 7:8 755',
    'regular file 0:0 0:0 4755',
  ]);
  // The same snapshot again: what was written is there.
  expect((await pod.run('cat /layer2; ls /layer1 2>/dev/null || echo gone', { rootfs })).output).toBe('new\ngone\n');
});

test('a hundred layers', async () => {
  const { options } = overlay(`many-${'x'.repeat(40)}`, 100);
  expect(options.join(',').length).toBeGreaterThan(4096);
  const rootfs = [{ type: 'overlay', source: 'overlay', options }];
  expect((await pod.run('cat /top; ls / | grep -c layer', { rootfs })).output).toBe('99\n100\n');
});

test('mount points that an image lacks are made in a read-only root; a view stays untouched', async () => {
  const { options } = overlay('readonly', 2);
  const missing = { destination: '/not/there', type: 'tmpfs', source: 'tmpfs' };
  const rootfs = [{ type: 'overlay', source: 'overlay', options }];
  const line = 'touch /x; touch /not/there/x && echo there';
  expect((await pod.run(line, { rootfs, readonlyRoot: true, mounts: [missing] })).output).toMatch(
    /Read-only file system\nthere\n$/,
  );
  const view = options.filter((option) => option.startsWith('lowerdir='));
  expect(
    (await pod.run('touch /x; cat /top', { rootfs: [{ type: 'overlay', source: 'overlay', options: view }] })).output,
  ).toMatch(/Read-only file system\n1\n$/);
  const directory = [{ type: 'bind', source: path('readonly/0'), options: ['rbind', 'ro'] }];
  expect((await pod.run('touch /x; cat /top', { rootfs: directory })).output).toMatch(/Read-only file system\n0\n$/);
  expect(existsSync(path('readonly/0/x'))).toBe(false);
});

test('a block device is the root when the mount says so, and what is written is on it', {
  timeout: 120_000,
}, async () => {
  const image = path('ext4.img');
  writeFileSync(image, '');
  truncateSync(image, 64 << 20);
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', writeBusyboxRoot(path('ext4-root')), image]);
  const loop = loopDevice(image);
  symlinkSync(loop, path('mapper'));
  const rootfs = [{ type: 'ext4', source: path('mapper'), options: ['rw', 'noatime'] }];
  const line = "ls -A / | tr '\\n' ' '; grep ' / ' /proc/mounts | cut -d' ' -f3; echo data > /kept; chown 3:4 /kept";
  expect((await pod.run(line, { rootfs })).output).toBe('bin dev etc lost+found proc sys tmp ext4\n');
  expect(await pod.run('cat /kept; stat -c %u:%g /kept', { rootfs })).toEqual({ status: 0, output: 'data\n3:4\n' });
  const dump = execFileSync('debugfs', ['-R', 'cat /kept', image], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  expect(dump).toBe('data\n');
  expect((await pod.run('touch /x', { rootfs: [{ type: 'ext4', source: loop, options: ['ro'] }] })).output).toContain(
    'Read-only',
  );
});

test('read-only images of other kinds', { timeout: 120_000 }, async () => {
  const tree = writeBusyboxRoot(path('tree'));
  execFileSync('mksquashfs', [tree, path('squash.img'), '-quiet', '-no-progress', '-comp', 'zstd']);
  execFileSync(
    'mkfs.erofs',
    ['--quiet', path('erofs.img'), tree].filter((word) => word !== '--quiet'),
    { stdio: 'ignore' },
  );
  for (const [type, source] of [
    ['squashfs', loopDevice(path('squash.img'))],
    ['erofs', path('erofs.img')],
  ] as const) {
    const { output } = await pod.run("touch /x; grep ' / ' /proc/mounts | cut -d' ' -f3", {
      rootfs: [{ type, source, options: ['ro'] }],
    });
    expect(output).toMatch(new RegExp(`Read-only file system\\n${type}\\n$`));
  }
});

test('nothing else ever becomes a disk, or is mounted', async () => {
  const image = path('secret.img');
  writeFileSync(image, Buffer.alloc(1 << 20));
  const device = loopDevice(image);
  mkdirSync(path('empty'));
  const refusals: [{ type: string; source: string; options: string[] }, RegExp][] = [
    [{ type: 'bind', source: device, options: ['rbind', 'rw'] }, /it is a device, not a directory/],
    [{ type: '', source: device, options: [] }, /mounts of type '' - no way/],
    [{ type: '', source: '', options: [] }, /mounts of type '' - no way/],
    [{ type: 'bind', source: '', options: ['rbind'] }, /bind '' - the source is not an absolute path/],
    [{ type: 'ext4', source: '', options: [] }, /the source is not an absolute path/],
    [{ type: 'ext4', source: path('empty'), options: [] }, /neither a regular file nor a block device/],
    [{ type: 'ext4', source: '/dev/null', options: [] }, /neither a regular file nor a block device/],
    [{ type: 'ext4', source: path('no-such'), options: [] }, /no such file/],
    [{ type: 'xfs', source: device, options: [] }, /mounts of type 'xfs' - no way/],
    [{ type: 'overlay', source: 'overlay', options: ['lowerdir=/a:/b', 'upperdir=/u'] }, /go together/],
    [{ type: 'overlay', source: 'overlay', options: [`lowerdir=${path('no')}:${path('such')}`] }, /mount overlay/],
  ];
  for (const [mount, message] of refusals) {
    await expect(pod.create('refused', { rootfs: [mount] }), JSON.stringify(mount)).rejects.toThrow(message);
  }
  // The malformed image of CVE-2026-24054: a snapshot that is an empty directory, with no program in it.
  const empty = { rootfs: [{ type: 'bind', source: path('empty'), options: ['rbind', 'rw'] }] };
  await pod.create('empty', empty);
  await expect(pod.task.start({ id: 'empty' })).rejects.toThrow(/no such file or directory/);
  await pod.remove('empty');
  expect(await pod.sh('pause', 'grep -c vd /proc/partitions || true')).toBe('0');
  expect(readdirSync(pod.shareRoot)).toHaveLength(1);
  expect(readFileSync(image).equals(Buffer.alloc(1 << 20))).toBe(true);
});

test('a bundle whose rootfs is a link is left alone', async () => {
  mkdirSync(path('bundle-linked'));
  const precious = writeBusyboxRoot(path('precious'));
  symlinkSync(precious, path('bundle-linked/rootfs'));
  const { options } = overlay('linked', 2);
  await pod.start('linked', { rootfs: [{ type: 'overlay', source: 'overlay', options }] });
  expect(await pod.sh('linked', 'cat /top')).toBe('1');
  await pod.remove('linked');
  expect(readdirSync(precious)).toContain('bin');
});
