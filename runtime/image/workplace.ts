/**
 * Owns the temporary directories of jobs in the store: named after their process, removed with the job, and swept when
 * a job died with its process.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { TEMPORARY_PREFIX } from './store/files.ts';
import { isTagAlive, processTag, tagOf } from './store/lock.ts';
import type { StorePaths } from './store/paths.ts';

/** Runs `work` with an empty directory of its own on the store's file system. */
export async function withWorkplace<T>(paths: StorePaths, work: (directory: string) => Promise<T>): Promise<T> {
  const directory = join(paths.temporary, `${processTag()}-${randomBytes(6).toString('hex')}`);
  await mkdir(directory, { mode: 0o700 });
  try {
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** A program that a killed job had started may still write for a moment. */
const SWEEP_RETRIES = { maxRetries: 10, retryDelay: 50 };

/** Removes what jobs of dead processes left. */
export async function sweepWorkplaces(paths: StorePaths): Promise<void> {
  for (const name of await readdir(paths.temporary)) {
    if (isTagAlive(tagOf(name))) continue;
    await rm(join(paths.temporary, name), { recursive: true, force: true, ...SWEEP_RETRIES });
  }
  for (const directory of [paths.blobs, paths.layers, paths.images, paths.names, paths.scratch, paths.locks]) {
    for (const name of await readdir(directory)) {
      const tag = unfinishedTag(name);
      if (tag !== undefined && !isTagAlive(tag)) await rm(join(directory, name), { force: true });
    }
  }
}

function unfinishedTag(name: string): string | undefined {
  for (const prefix of [TEMPORARY_PREFIX, '.claim-']) {
    if (name.startsWith(prefix)) return tagOf(name.slice(prefix.length));
  }
  return undefined;
}
