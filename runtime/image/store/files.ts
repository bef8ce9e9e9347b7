/**
 * Owns writing files so that no reader ever sees half of one: a private name in the same directory, synced, then renamed.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { processTag } from './lock.ts';

/** Names that begin so are unfinished and belong to the process whose tag follows. */
export const TEMPORARY_PREFIX = '.new-';

/** A name next to `path` that nobody else uses. */
export function temporaryName(path: string): string {
  return join(dirname(path), `${TEMPORARY_PREFIX}${processTag()}-${randomBytes(6).toString('hex')}-${basename(path)}`);
}

/** Replaces the file, mode 0600. */
export async function writeFileAtomically(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = temporaryName(path);
  try {
    await withFile(temporary, 'wx', async (file) => {
      await file.writeFile(content);
      await file.sync();
    });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Opens a file (mode 0600 when it is made) for the time of the work. */
export async function withFile<T>(path: string, flags: string, work: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, flags, 0o600);
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}
