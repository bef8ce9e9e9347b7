/**
 * What single layers can hold, and what layers mean to each other, seen through the kernel: the images are mounted as
 * the guest mounts them. Needs root, loop devices, EROFS and overlayfs.
 */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ImageStore } from '../../runtime/image/image-store.ts';
import { createScratchDisk } from '../../runtime/image/scratch.ts';
import { type TarPiece, tarOf } from '../helpers/layer-tar.ts';
import { TestMounts, whyNoMounts } from '../helpers/mounts.ts';
import { type LayoutLayer, writeLayout } from '../helpers/oci-layout.ts';
import { listTree } from '../helpers/tree-listing.ts';

const reason = whyNoMounts();
if (reason !== undefined) console.log(`skipped: features of block images: ${reason}`);

let directory: string;
let mounts: TestMounts;
let store: ImageStore;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tskata-features-'));
  mounts = new TestMounts(join(directory, 'mounts'));
  store = await ImageStore.open(join(directory, 'store'));
});

afterEach(async () => {
  mounts.unmountAll();
  await rm(directory, { recursive: true, force: true });
});

let count = 0;

/** Block images of layers given as tar streams or entries. */
async function convert(
  layers: readonly (Buffer | readonly TarPiece[])[],
  compression: LayoutLayer['compression'] = 'gzip',
): Promise<readonly string[]> {
  const tars = layers.map((layer) => ({ tar: Buffer.isBuffer(layer) ? layer : tarOf(layer), compression }));
  const layout = await writeLayout(join(directory, `layout${count++}`), tars);
  const [loaded] = await store.load(layout.directory);
  if (loaded === undefined) throw new Error('nothing was loaded');
  const rootfs = await store.prepareRootfs(loaded.image);
  await rootfs.release();
  return rootfs.layers;
}

async function mounted(layers: readonly (Buffer | readonly TarPiece[])[]): Promise<string> {
  return mounts.overlay(await convert(layers));
}

const CAPABILITY = Buffer.from('0100000200040080000000000000000000000000', 'hex');

describe.skipIf(reason !== undefined)('a layer', () => {
  it('keeps names, owners, modes, devices, times and links', async () => {
    const long = `deep/${'d'.repeat(200)}/${'n'.repeat(255)}`;
    const root = await mounted([
      [
        { name: './', type: '5', mode: 0o711, uid: 7, gid: 8 },
        { name: 'suid', mode: 0o6755, data: 'x', uid: 4_000_000_000, gid: 3_000_000, mtime: 1 },
        { name: long, data: 'long' },
        { name: 'bytes\xff\xfe\n', data: 'raw' },
        { name: 'abs', type: '2', link: `/${'t'.repeat(3000)}` },
        { name: 'null', type: '3', major: 1, minor: 3, mode: 0o666 },
        { name: 'disk', type: '4', major: 259, minor: 70_000, mode: 0o660, gid: 6 },
        { name: 'fifo', type: '6' },
        { name: 'one', data: 'linked' },
        { name: 'two', type: '1', link: './one' },
        { name: '/three', type: '1', link: '/two' },
      ],
    ]);
    const of = (name: string) => lstatSync(join(root, name));
    expect({ mode: of('.').mode & 0o7777, uid: of('.').uid, gid: of('.').gid }).toEqual({
      mode: 0o711,
      uid: 7,
      gid: 8,
    });
    expect(of('suid')).toMatchObject({
      mode: constants.S_IFREG | 0o6755,
      uid: 4_000_000_000,
      gid: 3_000_000,
      mtimeMs: 1000,
    });
    expect(readFileSync(join(root, long), 'utf8')).toBe('long');
    expect(
      (await readdir(root, { encoding: 'buffer' })).some((name) =>
        name.equals(Buffer.from('bytes\xff\xfe\n', 'latin1')),
      ),
    ).toBe(true);
    expect(readlinkSync(join(root, 'abs'))).toBe(`/${'t'.repeat(3000)}`);
    const lines = await listTree(root);
    expect(lines).toContainEqual(expect.stringMatching(/^\.\/null character-device 666 0:0 \S+ 1:3$/));
    expect(lines).toContainEqual(expect.stringMatching(/^\.\/disk block-device 660 0:6 \S+ 259:70000$/));
    expect(of('fifo').isFIFO()).toBe(true);
    expect(of('one').nlink).toBe(3);
    expect(new Set(['one', 'two', 'three'].map((name) => of(name).ino)).size).toBe(1);
  });

  it('keeps user.* and capabilities, and drops what would steer overlayfs or the host', async () => {
    const xattrs = {
      'user.note': 'kept',
      'security.capability': CAPABILITY,
      'trusted.overlay.opaque': 'y',
      'trusted.x': '1',
      'security.selinux': 'label',
      'user.': 'no name',
    };
    const pieces: TarPiece[] = [
      { name: 'd/', type: '5', xattrs },
      { name: 'd/f', data: 'x', xattrs },
    ];
    const images = await convert([
      [
        { name: 'd/', type: '5' },
        { name: 'd/lower', data: 'seen' },
      ],
      pieces,
    ]);
    const overlay = await listTree(mounts.overlay(images));
    expect(overlay).toContainEqual(expect.stringContaining('./d/lower file'));
    const [alone] = await Promise.all([listTree(mounts.overlay([images[1] ?? '']))]);
    const line = alone.find((text) => text.startsWith('./d/f'));
    expect(line).toContain('user.note="kept"');
    expect(line).toContain('security.capability=');
    for (const dropped of ['trusted', 'selinux', 'user.=']) expect(alone.join('\n')).not.toContain(dropped);
  });

  it('reads every sparse format of GNU tar, and stores holes as holes', async () => {
    const source = join(directory, 'source');
    mkdirSync(source);
    const file = openSync(join(source, 'sparse'), 'w');
    // More runs than fit into one header of the old format.
    for (let run = 0; run < 40; run++) writeSync(file, Buffer.alloc(4096, run + 1), 0, 4096, run * 1024 * 1024);
    writeSync(file, Buffer.from('end'), 0, 3, 200 * 1024 * 1024);
    closeSync(file);
    const formats = [
      ['--format=gnu'],
      ['--format=pax', '--sparse-version=0.0'],
      ['--format=pax', '--sparse-version=0.1'],
      ['--format=pax', '--sparse-version=1.0'],
    ];
    const keys = new Set<string>();
    for (const format of formats) {
      const made = spawnSync(
        'tar',
        ['--sparse', ...format, '--mtime=@1000', '--sort=name', '-C', source, '-cf', '-', 'sparse'],
        { maxBuffer: 64 * 1024 * 1024 },
      );
      expect(made.status).toBe(0);
      expect(made.stdout.length).toBeLessThan(1024 * 1024);
      const [image] = await convert([made.stdout]);
      expect(statSync(image ?? '').size).toBeLessThan(1024 * 1024 * 8);
      keys.add(spawnSync('sha256sum', [image ?? ''], { encoding: 'utf8' }).stdout.split(' ')[0] ?? '');
      const root = mounts.overlay([image ?? '']);
      expect(spawnSync('cmp', [join(source, 'sparse'), join(root, 'sparse')]).status, format.join(' ')).toBe(0);
    }
    // The four archives describe one file, so the images are the same byte for byte.
    expect(keys.size).toBe(1);
  });

  it('takes files beyond 8 GiB', async () => {
    const size = 9 * 1024 ** 3;
    const map = Buffer.from(`2\n0\n5\n${size}\n0\n`);
    const inline = Buffer.concat([map, Buffer.alloc(512 - map.length), Buffer.from('begin'), Buffer.alloc(507)]);
    const records = {
      'GNU.sparse.major': '1',
      'GNU.sparse.minor': '0',
      'GNU.sparse.name': 'huge',
      'GNU.sparse.realsize': `${size}`,
    };
    const root = await mounted([[{ name: 'GNUSparseFile.0/huge', data: inline, statedSize: 517, pax: records }]]);
    expect(statSync(join(root, 'huge')).size).toBe(size);
    const file = openSync(join(root, 'huge'), 'r');
    const bytes = Buffer.alloc(8);
    readSync(file, bytes, 0, 8, 0);
    expect(bytes.toString()).toBe('begin\0\0\0');
    expect(readSync(file, bytes, 0, 8, size - 8)).toBe(8);
    closeSync(file);
  });

  it('holds directories with thousands of names', async () => {
    const names = Array.from(
      { length: 5000 },
      (_, index) => `name-${String(index).padStart(5, '0')}-${'x'.repeat(index % 50)}`,
    );
    const root = await mounted([names.map((name) => ({ name: `many/${name}`, data: name }))]);
    expect(await readdir(join(root, 'many'))).toHaveLength(names.length);
    for (const name of [names[0], names[1234], names[4999]])
      expect(await readFile(join(root, 'many', name ?? ''), 'utf8')).toBe(name);
    expect(() => lstatSync(join(root, 'many', 'name-00000-y'))).toThrow(/ENOENT/);
  });
});

describe.skipIf(reason !== undefined)('layers together', () => {
  it('a parent without an entry of its own looks as it does below', async () => {
    const root = await mounted([
      [
        { name: 'tmp/', type: '5', mode: 0o1777 },
        { name: 'srv/', type: '5', mode: 0o750, uid: 33, gid: 44, xattrs: { 'user.k': 'v' } },
      ],
      [
        { name: 'tmp/new', data: '1' },
        { name: 'srv/deep/new', data: '2' },
      ],
    ]);
    expect(lstatSync(join(root, 'tmp')).mode & 0o7777).toBe(0o1777);
    expect(lstatSync(join(root, 'srv'))).toMatchObject({ mode: constants.S_IFDIR | 0o750, uid: 33, gid: 44 });
    expect(lstatSync(join(root, 'srv/deep')).mode & 0o7777).toBe(0o755);
  });

  it('an entry below a symlink of a lower layer goes where the link points, inside the image', async () => {
    const root = await mounted([
      [
        { name: 'usr/lib/old', data: 'old' },
        { name: 'lib', type: '2', link: 'usr/lib' },
        { name: 'out', type: '2', link: '/../../../../usr' },
      ],
      [
        { name: 'lib/new', data: 'new' },
        { name: 'out/lib/newer', data: 'newer' },
      ],
    ]);
    expect(readlinkSync(join(root, 'lib'))).toBe('usr/lib');
    expect((await readdir(join(root, 'usr/lib'))).sort()).toEqual(['new', 'newer', 'old']);
  });

  it('a hard link to a file of a lower layer brings the content along', async () => {
    const root = await mounted([
      [{ name: 'bin/tool', data: 'content', mode: 0o755, uid: 5 }],
      [{ name: 'bin/alias', type: '1', link: 'bin/tool' }],
    ]);
    expect(readFileSync(join(root, 'bin/alias'), 'utf8')).toBe('content');
    expect(lstatSync(join(root, 'bin/alias'))).toMatchObject({
      nlink: 2,
      uid: 5,
      ino: lstatSync(join(root, 'bin/tool')).ino,
    });
  });

  it('an opaque root hides everything below', async () => {
    const images = await convert([
      [{ name: 'old', data: '1' }],
      [{ name: '.wh..wh..opq' }, { name: 'new', data: '2' }],
    ]);
    expect(images).toHaveLength(1);
    expect(await readdir(mounts.overlay(images))).toEqual(['new']);
  });

  it('a whiteout does not hide what its own layer has, whichever comes first', async () => {
    const root = await mounted([
      [
        { name: 'd/lower', data: '1' },
        { name: 'e/lower', data: '1' },
        { name: 'f', data: 'old' },
      ],
      [
        { name: '.wh.d' },
        { name: 'd/own', data: '2' },
        { name: 'e/own', data: '2' },
        { name: '.wh.e' },
        { name: 'f', data: 'new' },
        { name: '.wh.f' },
      ],
    ]);
    expect(await readdir(join(root, 'd'))).toEqual(['own']);
    expect(await readdir(join(root, 'e'))).toEqual(['own']);
    expect(readFileSync(join(root, 'f'), 'utf8')).toBe('new');
  });

  it('the last of two entries of one name counts', async () => {
    const root = await mounted([
      [
        { name: 'x', data: 'first' },
        { name: 'y', type: '1', link: 'x' },
        { name: 'x', data: 'second' },
        { name: 'dir/', type: '5' },
        { name: 'dir/inside', data: '1' },
        { name: 'dir', data: 'a file now' },
      ],
    ]);
    expect(readFileSync(join(root, 'x'), 'utf8')).toBe('second');
    expect(readFileSync(join(root, 'y'), 'utf8')).toBe('first');
    expect(readFileSync(join(root, 'dir'), 'utf8')).toBe('a file now');
  });

  it('a layer with the same facts is shared, one with other parents is not', async () => {
    const top: TarPiece[] = [{ name: 'etc/conf', data: 'same' }];
    const base = (mode: number, extra: string): TarPiece[] => [
      { name: 'etc/', type: '5', mode, mtime: 5 },
      { name: extra, data: extra },
    ];
    const first = await convert([base(0o755, 'a'), top]);
    const second = await convert([base(0o755, 'b'), top]);
    const third = await convert([base(0o700, 'a'), top]);
    expect(first[1]).toBe(second[1]);
    expect(first[1]).not.toBe(third[1]);
  });
});

describe.skipIf(reason !== undefined)('the writable disk', () => {
  it('is an empty, sparse ext4 with what the overlay needs, and quick to copy', async () => {
    const target = join(directory, 'scratch.ext4');
    await createScratchDisk(join(directory, 'store'), 4 * 1024 ** 3, target);
    const started = performance.now();
    await createScratchDisk(join(directory, 'store'), 4 * 1024 ** 3, `${target}.2`);
    expect(performance.now() - started).toBeLessThan(1000);
    for (const path of [target, `${target}.2`]) {
      const { size, blocks, mode } = statSync(path);
      expect(size).toBe(4 * 1024 ** 3);
      expect(blocks * 512).toBeLessThan(2 * 1024 * 1024);
      expect(mode & 0o777).toBe(0o600);
      expect(spawnSync('/sbin/fsck.ext4', ['-fn', path]).status).toBe(0);
    }
    const root = mounts.loop(target);
    expect(await readdir(root)).toEqual(expect.arrayContaining(['upper', 'work']));
    await expect(createScratchDisk(join(directory, 'store'), 1, `${target}.3`)).rejects.toThrow(/16 MiB/);
    await expect(createScratchDisk(join(directory, 'store'), 4 * 1024 ** 3, target)).rejects.toThrow(/EEXIST/);
  });
});
