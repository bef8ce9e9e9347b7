/**
 * Images of 1 to 120 layers, mounted as the guest mounts them, against what umoci makes of the same image: type, mode,
 * owner, time, device, links, attributes and content of every path. Needs root, loop devices, EROFS and overlayfs.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../runtime/host/process.ts';
import { ImageStore } from '../../runtime/image/image-store.ts';
import { MAX_LAYER_DISKS } from '../../runtime/image/limits.ts';
import { TestMounts, whyNoMounts } from '../helpers/mounts.ts';
import { writeLayout } from '../helpers/oci-layout.ts';
import { randomLayers } from '../helpers/random-layers.ts';
import { listTree } from '../helpers/tree-listing.ts';

const reason = whyNoMounts();
if (reason !== undefined) console.log(`skipped: block images against umoci: ${reason}`);
const TIMEOUT_MS = 60_000;

describe.skipIf(reason !== undefined)('block images mounted as an overlay', () => {
  let directory: string;
  let mounts: TestMounts;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tskata-layers-'));
    mounts = new TestMounts(join(directory, 'mounts'));
  });

  afterEach(async () => {
    mounts.unmountAll();
    await rm(directory, { recursive: true, force: true });
  });

  /** What we make of the layers, and what umoci makes of them. */
  async function both(layers: readonly Buffer[]): Promise<{ ours: string[]; theirs: string[]; disks: number }> {
    const layout = await writeLayout(
      join(directory, 'layout'),
      layers.map((tar) => ({ tar })),
    );
    const store = await ImageStore.open(join(directory, 'store'));
    const [loaded] = await store.load(layout.directory);
    if (loaded === undefined) throw new Error('nothing was loaded');
    const rootfs = await store.prepareRootfs(loaded.image);
    const ours = await listTree(mounts.overlay(rootfs.layers));
    await rootfs.release();
    const bundle = join(directory, 'bundle');
    await run('umoci', ['unpack', '--image', `${layout.directory}:latest`, bundle], { timeoutMs: TIMEOUT_MS });
    return { ours, theirs: await listTree(join(bundle, 'rootfs')), disks: rootfs.layers.length };
  }

  it.each([
    [1, 11],
    [2, 12],
    [3, 13],
    [8, 14],
    [9, 15],
    [9, 16],
    [20, 17],
    [40, 18],
    [120, 19],
  ])('has the tree that umoci unpacks, with %i layers (seed %i)', async (count, seed) => {
    const { ours, theirs, disks } = await both(randomLayers(seed, count));
    expect(disks).toBeLessThanOrEqual(MAX_LAYER_DISKS);
    expect(ours).toEqual(theirs);
    expect(ours.length).toBeGreaterThan(2);
  });
});
