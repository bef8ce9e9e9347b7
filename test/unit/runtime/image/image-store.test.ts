/** The store without a registry: archives of every kind, the built-in image, removal, damage, leftovers of a crash. */
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../../../runtime/host/process.ts';
import { buildBusyboxImage } from '../../../../runtime/image/busybox.ts';
import type { Digest } from '../../../../runtime/image/digest.ts';
import { ImageStore } from '../../../../runtime/image/image-store.ts';
import { usageFromAnnotations } from '../../../../runtime/image/usage.ts';
import { IMAGE } from '../../../../runtime/oci/annotations.ts';
import { tarOf } from '../../../helpers/layer-tar.ts';
import { writeLayout } from '../../../helpers/oci-layout.ts';

let directory: string;
let root: string;
let store: ImageStore;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tskata-store-'));
  root = join(directory, 'lib');
  store = await ImageStore.open(root);
});

afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

async function layout(name = 'layout', text = 'x'): Promise<string> {
  return (await writeLayout(join(directory, name), [{ tar: tarOf([{ name: 'file', data: text }]) }], { tag: 'v1' }))
    .directory;
}

async function archive(
  kind: 'docker-archive' | 'oci-archive',
  reference: string,
  name = 'archive.tar',
): Promise<string> {
  const path = join(directory, name);
  await run('skopeo', ['copy', '--quiet', `oci:${await layout()}:v1`, `${kind}:${path}:${reference}`], {
    timeoutMs: 30_000,
  });
  return path;
}

describe('load', () => {
  it('takes an OCI layout as a directory', async () => {
    const [loaded] = await store.load(await layout());
    expect(loaded?.name).toBe('localhost/layout:v1');
    expect((await store.find('localhost/layout:v1'))?.image.id).toBe(loaded?.image.id);
  });

  it('takes an archive of docker save, under all its names', async () => {
    const path = await archive('docker-archive', 'team/app:v2');
    expect((await store.load(path)).map(({ name }) => name)).toEqual(['docker.io/team/app:v2']);
    const packed = `${path}.gz`;
    await writeFile(packed, gzipSync(await readFile(path)));
    expect((await store.load(packed, { name: 'other:1' })).map(({ name }) => name)).toEqual([
      'docker.io/library/other:1',
    ]);
    expect(await store.list()).toHaveLength(2);
  });

  it('takes an OCI archive, by path and by transport, even with a colon in the path', async () => {
    const path = await archive('oci-archive', 'v1');
    const odd = join(directory, 'odd:name.tar');
    await writeFile(odd, await readFile(path));
    expect((await store.load(odd)).map(({ name }) => name)).toEqual(['localhost/odd-name:v1']);
    expect((await store.pull(`oci-archive:${path}:v1`)).name).toBe('localhost/archive:v1');
    expect((await store.pull(`oci:${join(directory, 'layout')}:v1`)).name).toBe('localhost/layout:v1');
  });

  it('says what is wrong with a file', async () => {
    await writeFile(join(directory, 'text'), 'hello');
    await writeFile(join(directory, 'other.tar'), tarOf([{ name: 'x', data: 'y' }]));
    await writeFile(join(directory, 'x.xz'), Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]));
    await expect(store.load(join(directory, 'none'))).rejects.toThrow(/no such file/);
    await expect(store.load(join(directory, 'text'))).rejects.toThrow(/not a tar archive/);
    await expect(store.load(join(directory, 'other.tar'))).rejects.toThrow(/not an archive of images/);
    await expect(store.load(join(directory, 'x.xz'))).rejects.toThrow(/compressed with xz/);
    await expect(store.load(root)).rejects.toThrow(/no index\.json/);
    await expect(store.pull(`oci:${directory}/none:v1`)).rejects.toThrow(/no such file/);
  });

  it('refuses a blob that is not what its digest says', async () => {
    const path = await layout();
    const blobs = join(path, 'blobs/sha256');
    for (const name of await readdir(blobs)) {
      const bytes = await readFile(join(blobs, name));
      if (bytes[0] === 0x1f)
        await writeFile(join(blobs, name), gzipSync(tarOf([{ name: 'other', data: 'z' }]), { level: 1 }));
    }
    await expect(store.load(path)).rejects.toThrow(/damaged|is not|digest/i);
    expect(await readdir(store.paths.layers)).toEqual([]);
    expect(await store.list()).toEqual([]);
  });

  it('refuses a layer whose content is not what the configuration says', async () => {
    const first = { tar: tarOf([{ name: 'a', data: '1' }]) };
    // `packed` replaces the stream, so that the diff id is that of another.
    const path = await writeLayout(join(directory, 'lying'), [
      { ...first, packed: gzipSync(tarOf([{ name: 'b', data: '2' }])) },
    ]);
    await expect(store.load(path.directory)).rejects.toThrow(/but the image says sha256:/);
    const broken = await writeLayout(join(directory, 'broken'), [
      { ...first, packed: gzipSync(first.tar).subarray(0, 40) },
    ]);
    await expect(store.load(broken.directory)).rejects.toThrow(/cannot be decompressed/);
    expect(await store.list()).toEqual([]);
    expect(await readdir(store.paths.temporary)).toEqual([]);
  });
});

describe('the built-in image', () => {
  it('is made from the busybox of this machine, the same every time', async () => {
    const first = await buildBusyboxImage(store);
    expect(first.name).toBe('docker.io/library/busybox:latest');
    const other = await ImageStore.open(join(directory, 'other'));
    const second = await buildBusyboxImage(other);
    expect(second.image.id).toBe(first.image.id);
    expect(second.image.blocks).toEqual(first.image.blocks);
    const rootfs = await store.prepareRootfs(first.image);
    await rootfs.release();
    const [image] = rootfs.layers;
    const again = await readFile((await other.prepareRootfs(second.image)).layers[0] ?? '');
    expect(again.equals(await readFile(image ?? ''))).toBe(true);
    const tree = join(directory, 'tree');
    execFileSync('fsck.erofs', [`--extract=${tree}`, '--no-preserve-owner', image ?? '']);
    expect(await readlink(join(tree, 'bin/sh'))).toBe('../bin/busybox');
    expect((await stat(join(tree, 'tmp'))).mode & 0o7777).toBe(0o1777);
    expect(await readFile(join(tree, 'bin/busybox'))).toEqual(await readFile('/bin/busybox'));
    expect((await store.find('busybox'))?.image.config.Cmd).toEqual(['sh']);
  });

  it('is refused without a static busybox', async () => {
    await expect(buildBusyboxImage(store, join(directory, 'none'))).rejects.toThrow(/busybox-static/);
    await expect(buildBusyboxImage(store, process.execPath)).rejects.toThrow(/needs shared libraries/);
  });
});

describe('removal', () => {
  it('takes names first, the image with the last one', async () => {
    const path = await layout();
    await store.load(path, { name: 'a:1' });
    const [loaded] = await store.load(path, { name: 'b:1' });
    expect(await store.remove('a:1')).toEqual({ names: ['docker.io/library/a:1'], id: undefined });
    expect(await store.remove('b:1')).toEqual({ names: ['docker.io/library/b:1'], id: loaded?.image.id });
    expect(await readdir(store.paths.blobs)).toEqual([]);
    expect(await readdir(store.paths.layers)).toEqual([]);
    await expect(store.remove('a:1')).rejects.toThrow(/no such image/);
  });

  it('by id takes all names', async () => {
    const path = await layout();
    await store.load(path, { name: 'a:1' });
    const [loaded] = await store.load(path, { name: 'b:1' });
    const removed = await store.remove(loaded?.image.id.slice(7, 20) ?? '');
    expect(removed.names).toEqual(['docker.io/library/a:1', 'docker.io/library/b:1']);
    expect(await store.list()).toEqual([]);
  });

  it('is refused while a living container uses the image, but not for one of two names', async () => {
    const path = await layout();
    const [loaded] = await store.load(path, { name: 'a:1' });
    await store.load(path, { name: 'b:1' });
    const containers = [{ id: 'c0ffee', annotations: { [IMAGE]: loaded?.image.id ?? '' } }];
    const used = await ImageStore.open(root, { usage: usageFromAnnotations(async () => containers) });
    await used.remove('a:1');
    await expect(used.remove('b:1')).rejects.toThrow(/used by c0ffee - stop and remove that first/);
    await expect(used.remove(loaded?.image.id ?? '')).rejects.toThrow(/c0ffee/);
    containers.length = 0;
    await used.remove('b:1');
  });

  it('leaves the files of a prepared root alone until it is released', async () => {
    await store.load(await layout(), { name: 'a:1' });
    const found = await store.find('a:1');
    if (found === undefined) throw new Error('not found');
    const rootfs = await store.prepareRootfs(found.image);
    await store.remove('a:1');
    for (const path of rootfs.layers) expect((await stat(path)).size).toBeGreaterThan(0);
    await rootfs.release();
    expect(await store.prune()).toBeGreaterThan(0);
    expect(await readdir(store.paths.layers)).toEqual([]);
  });
});

describe('what a crash leaves', () => {
  it('is removed at the next opening, and what a living process has is not', async () => {
    const dead = '4194000-1-abcdef';
    const self = `${process.pid}-`;
    await mkdir(join(store.paths.temporary, dead));
    await writeFile(join(store.paths.layers, `.new-${dead}-x.erofs`), 'half');
    await writeFile(join(store.paths.blobs, `.new-${dead}-x`), 'half');
    await writeFile(join(store.paths.locks, `.claim-${dead}`), 'half');
    await ImageStore.open(root);
    for (const path of [store.paths.temporary, store.paths.layers, store.paths.blobs, store.paths.locks])
      expect(await readdir(path)).toEqual([]);
    const [loading] = await Promise.all([store.load(await layout()), ImageStore.open(root), ImageStore.open(root)]);
    expect(loading).toHaveLength(1);
    expect((await readdir(store.paths.temporary)).filter((name) => name.startsWith(self))).toEqual([]);
  });

  it('a missing block image is made again', async () => {
    const [loaded] = await store.load(await layout());
    if (loaded === undefined) throw new Error('nothing was loaded');
    for (const name of await readdir(store.paths.layers)) await rm(join(store.paths.layers, name));
    const rootfs = await store.prepareRootfs(loaded.image);
    expect((await stat(rootfs.layers[0] ?? '')).size).toBeGreaterThan(0);
    await rootfs.release();
  });

  it('a record of another release, or a broken one, is told with its path', async () => {
    const [loaded] = await store.load(await layout());
    const path = store.paths.image(loaded?.image.id as Digest);
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace('"version":1', '"version":99'));
    await expect(store.list()).rejects.toThrow(`read ${path} - its version is not 1`);
    await writeFile(path, text.slice(0, 50));
    await expect(store.list()).rejects.toThrow(`read ${path} - it is not JSON`);
  });

  it('everything in the store is for its owner only', async () => {
    await store.load(await layout());
    await chmod(directory, 0o755);
    const walk = async (path: string): Promise<void> => {
      for (const entry of await readdir(path, { withFileTypes: true })) {
        const full = join(path, entry.name);
        const { mode } = await stat(full);
        expect(mode & 0o777, full).toBe(entry.isDirectory() ? 0o700 : 0o600);
        if (entry.isDirectory()) await walk(full);
      }
    };
    for (const path of ['blobs', 'images', 'layers', 'locks', 'scratch', 'tmp']) {
      expect((await stat(join(root, path))).mode & 0o777).toBe(0o700);
      await walk(join(root, path));
    }
  });
});
