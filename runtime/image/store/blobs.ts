/**
 * Owns the content-addressed blobs: nothing gets a place among them before its digest and size were checked here,
 * whoever fetched it.
 */
import { chmod, lstat, readFile, rename, writeFile } from 'node:fs/promises';
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import { type Digest, digestFile, digestOf } from '../digest.ts';
import type { Descriptor } from '../manifest.ts';
import { temporaryName, withFile } from './files.ts';
import type { StorePaths } from './paths.ts';

/** Whether a blob of this size is there. Its content was checked when it came. */
export async function hasBlob(paths: StorePaths, blob: Descriptor): Promise<boolean> {
  const found = await lstat(paths.blob(blob.digest)).catch(() => undefined);
  return found?.size === blob.size;
}

/** Moves a fetched file among the blobs. Throws DataLoss when it is not what the descriptor promises. */
export async function importBlob(paths: StorePaths, file: string, blob: Descriptor): Promise<void> {
  const wrong = (fact: string): TskataError =>
    new TskataError(Code.DataLoss, `import blob ${blob.digest} - ${fact} - the source is damaged; pull it again`);
  const found = await lstat(file).catch(() => undefined);
  if (found === undefined) throw wrong('it was not delivered');
  if (!found.isFile()) throw wrong('it is not a file');
  if (found.size !== blob.size) throw wrong(`it has ${found.size} bytes instead of ${blob.size}`);
  const { digest } = await digestFile(file);
  if (digest !== blob.digest) throw wrong(`its content is ${digest}`);
  await chmod(file, 0o600);
  await syncFile(file);
  await rename(file, paths.blob(blob.digest));
}

/** Stores bytes of our own. */
export async function writeBlob(paths: StorePaths, bytes: Uint8Array): Promise<Digest> {
  const digest = digestOf(bytes);
  const temporary = temporaryName(paths.blob(digest));
  await writeFile(temporary, bytes, { flag: 'wx', mode: 0o600 });
  await syncFile(temporary);
  await rename(temporary, paths.blob(digest));
  return digest;
}

/** Reads a small document back, checked again: it decides what runs. */
export async function readBlob(paths: StorePaths, digest: Digest): Promise<Buffer> {
  const bytes = await readFile(paths.blob(digest));
  if (digestOf(bytes) !== digest) {
    throw new TskataError(
      Code.DataLoss,
      `read blob ${digest} - its content has changed on disk - remove the image and pull it again`,
    );
  }
  return bytes;
}

async function syncFile(path: string): Promise<void> {
  await withFile(path, 'r', (file) => file.sync());
}
