/** What happens to the image store when the world fails: a full disk, a process killed in the middle, again and again. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ImageStore } from '../../runtime/image/image-store.ts';
import { tarOf } from '../helpers/layer-tar.ts';
import { writeLayout } from '../helpers/oci-layout.ts';
import { random } from '../helpers/random-layers.ts';

const MIB = 1024 * 1024;
const MODULE = new URL('../../runtime/image/image-store.ts', import.meta.url).href;
const KILLS = 12;
const SEED = 7;
const TIMEOUT_MS = 120_000;

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tskata-faults-'));
});

afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

/** Bytes that do not compress. */
function noise(bytes: number): Buffer {
  const next = random(bytes);
  return Buffer.from(Uint32Array.from({ length: bytes / 4 }, () => next(2 ** 32)).buffer);
}

describe('the image store', () => {
  it.skipIf(process.getuid?.() !== 0)(
    'says that the disk is full, keeps nothing half, and works once there is room',
    async () => {
      const layout = await writeLayout(join(directory, 'layout'), [
        { tar: tarOf([{ name: 'large', data: noise(4 * MIB) }]) },
      ]);
      const root = join(directory, 'disk');
      await mkdir(root);
      const mount = (size: string, extra = ''): void => {
        const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}${extra}`, 'tmpfs', root], {
          encoding: 'utf8',
        });
        if (status !== 0) throw new Error(stderr);
      };
      mount('7m');
      try {
        const store = await ImageStore.open(root);
        await expect(store.load(layout.directory)).rejects.toThrow(/disk is full - free some space/);
        expect(await store.list()).toEqual([]);
        for (const path of [store.paths.temporary, store.paths.layers, store.paths.locks]) {
          expect((await readdir(path)).filter((name) => !name.endsWith('.entries.json'))).toEqual([]);
        }
        mount('64m', ',remount');
        expect(await store.load(layout.directory)).toHaveLength(1);
      } finally {
        spawnSync('umount', [root]);
      }
    },
  );

  it('survives being killed anywhere in a load', { timeout: TIMEOUT_MS }, async () => {
    const layers = Array.from({ length: 6 }, (_, index) => ({
      tar: tarOf([{ name: `file${index}`, data: noise(3 * MIB + index * 4096) }]),
    }));
    const layout = await writeLayout(join(directory, 'layout'), layers);
    const root = join(directory, 'store');
    const script = `
      import { ImageStore } from ${JSON.stringify(MODULE)};
      const store = await ImageStore.open(process.argv[1]);
      process.stdout.write('open');
      await store.load(process.argv[2]);`;
    const next = random(SEED);
    let killed = 0;
    for (let round = 0; round < KILLS; round++) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', script, root, layout.directory], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const exit = once(child, 'exit');
      await Promise.race([once(child.stdout, 'data'), exit]);
      const timer = setTimeout(() => child.kill('SIGKILL'), next(600));
      await exit;
      clearTimeout(timer);
      if (child.signalCode === 'SIGKILL') killed++;
      // Whatever is visible is whole: every record has all its files.
      const store = await ImageStore.open(root);
      for (const { image } of await store.list()) {
        for (const layer of image.layers) expect(await readdir(store.paths.blobs)).toContain(layer.digest.slice(7));
        for (const key of image.blocks.keys) expect(await readdir(store.paths.layers)).toContain(`${key}.erofs`);
      }
    }
    expect(killed).toBeGreaterThan(2);
    const store = await ImageStore.open(root);
    const [loaded] = await store.load(layout.directory);
    expect(loaded?.image.blocks.keys).toHaveLength(layers.length);
    expect(await readdir(store.paths.temporary)).toEqual([]);
    await store.remove(loaded?.image.id ?? '');
    for (const path of [store.paths.blobs, store.paths.layers, store.paths.locks])
      expect(await readdir(path)).toEqual([]);
  });
});
