/**
 * Owns the build cache of the native programs: directories that appear whole or not at all, named by the hash of what
 * they were made of. Knows nothing of compilers.
 */
import { createHash } from 'node:crypto';
import { access, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Directory of one part of the build cache: TSKATA_CACHE, else the XDG cache directory. */
function cacheRoot(part: string): string {
  const { TSKATA_CACHE, XDG_CACHE_HOME } = process.env;
  const root = TSKATA_CACHE || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'tskata');
  return join(root, part);
}

/** SHA-256 (hex) of parts, each length-prefixed so that no two lists collide. */
export function hashOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) {
    const bytes = typeof part === 'string' ? Buffer.from(part) : part;
    hash.update(`${bytes.length}:`).update(bytes);
  }
  return hash.digest('hex');
}

/**
 * The directory `part/key`, made by `fill` in a temporary place first when it does not exist. Several processes may
 * build at the same time: the first to finish wins, the others use its result.
 */
export async function cached(part: string, key: string, fill: (directory: string) => Promise<void>): Promise<string> {
  const root = cacheRoot(part);
  const directory = join(root, key);
  if (await present(directory)) return directory;
  await mkdir(root, { recursive: true });
  const temporary = await mkdtemp(join(root, '.building-'));
  try {
    await fill(temporary);
    await rename(temporary, directory);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    if (!(await present(directory))) throw error;
  }
  return directory;
}

async function present(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
