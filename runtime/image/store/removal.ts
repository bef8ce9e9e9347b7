/**
 * Owns removal: which names and images go, and which files no image needs any more. Files go only while no process is
 * in the middle of a pull or a start.
 */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import { type Digest, hexOf } from '../digest.ts';
import type { ImageUsage } from '../usage.ts';
import { hasLeases, withLock } from './lock.ts';
import type { StorePaths } from './paths.ts';
import { type ImageRecord, listImages, listNames, removeImage, removeName } from './records.ts';

export const PRUNE_LOCK = 'prune';
export const PRUNE_DEADLINE_MS = 60_000;

/** What a removal took away. */
export interface Removed {
  readonly names: readonly string[];
  /** The image itself, when it had no other name. */
  readonly id: Digest | undefined;
}

/** Removes one name, or all names of the image. Throws FailedPrecondition while a living container uses the image. */
export async function removeFromStore(
  paths: StorePaths,
  found: { readonly name: string; readonly image: ImageRecord },
  allNames: boolean,
  usage: ImageUsage,
): Promise<Removed> {
  const { id } = found.image;
  const names = (await listNames(paths)).filter((record) => record.id === id).map((record) => record.name);
  const going = allNames ? names : [found.name];
  const last = going.length === names.length;
  const users = last ? (await usage.containersByImage()).get(id) : undefined;
  if (users !== undefined && users.length > 0) {
    const containers = users.map((user) => user.slice(0, 12)).join(', ');
    throw new TskataError(
      Code.FailedPrecondition,
      `remove image ${found.name || id} - it is used by ${containers} - stop and remove that first`,
    );
  }
  for (const name of going) await removeName(paths, name);
  if (last) await removeImage(paths, id);
  return { names: going, id: last ? id : undefined };
}

/** Deletes files that no record needs; returns their bytes. Does nothing while anybody has a lease. */
export async function pruneStore(paths: StorePaths): Promise<number> {
  return await withLock(paths.locks, PRUNE_LOCK, PRUNE_DEADLINE_MS, async () => {
    if (await hasLeases(paths.locks)) return 0;
    const needed = new Set<string>();
    for (const image of await listImages(paths)) {
      needed.add(hexOf(image.id)).add(hexOf(image.manifestDigest));
      for (const layer of image.layers) needed.add(hexOf(layer.digest)).add(`${hexOf(layer.diffId)}.entries.json`);
      for (const key of image.blocks.keys) needed.add(`${key}.erofs`);
    }
    return (await removeOthers(paths.blobs, needed)) + (await removeOthers(paths.layers, needed));
  });
}

async function removeOthers(directory: string, needed: ReadonlySet<string>): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(directory)) {
    if (needed.has(name) || name.startsWith('.')) continue;
    const path = join(directory, name);
    bytes += (await stat(path)).blocks * 512;
    await rm(path, { force: true });
  }
  return bytes;
}
