/** The cache in front of the build: what is found without compiling anything. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ensureGuestKernel, findGuestKernel } from '../../../guest-kernel/build.ts';
import { cacheKey, readKernelInputs } from '../../../guest-kernel/inputs.ts';

const cacheBefore = process.env.TSKATA_CACHE;
let cache = '';
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'tskata-cache-'));
  process.env.TSKATA_CACHE = cache;
});
afterEach(() => {
  if (cacheBefore === undefined) delete process.env.TSKATA_CACHE;
  else process.env.TSKATA_CACHE = cacheBefore;
  rmSync(cache, { recursive: true, force: true });
});

test('an empty cache has no kernel, and asking does not build one', async () => {
  expect(await findGuestKernel()).toBeUndefined();
});

test('a finished result is used at once', async () => {
  const key = cacheKey(await readKernelInputs());
  const folder = join(cache, 'guest-kernel', key);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'build.json'), JSON.stringify({ release: '6.1.0-tskata' }));
  const startedAt = performance.now();
  const kernel = await ensureGuestKernel();
  // Compiling takes minutes.
  expect(performance.now() - startedAt).toBeLessThan(30_000);
  expect(kernel).toEqual({
    bzImage: join(folder, 'bzImage'),
    vmlinux: join(folder, 'vmlinux'),
    release: '6.1.0-tskata',
    key,
    origin: 'built',
  });
});

test('a record without a release is refused with the folder to remove', async () => {
  const folder = join(cache, 'guest-kernel', cacheKey(await readKernelInputs()));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'build.json'), '{}');
  await expect(findGuestKernel()).rejects.toThrow(`remove ${folder} and build again`);
});
