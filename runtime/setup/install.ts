/**
 * Copies build/ to PREFIX/lib/tskata/<hash> and points PREFIX/bin at it. A directory of programs is never changed once
 * it is there: running sandboxes keep the one that they were started from.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { cp, mkdir, readdir, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

const build = join(import.meta.dirname, '../../build');
const prefix = process.env.TSKATA_PREFIX ?? '/usr/local';
const COMMANDS = ['tskata', 'containerd-shim-tskata-v2'];
const HASH_LENGTH = 16;

/** One hash over names and contents. */
async function hashTree(directory: string): Promise<string> {
  const hash = createHash('sha256');
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const file of files.toSorted()) {
    hash.update(file.slice(directory.length));
    await pipeline(createReadStream(file), async (chunks) => {
      for await (const chunk of chunks) hash.update(chunk as Buffer);
    });
  }
  return hash.digest('hex').slice(0, HASH_LENGTH);
}

/** A link that is replaced in one step. */
async function replaceLink(target: string, path: string): Promise<void> {
  const temporary = `${path}.${process.pid}`;
  await rm(temporary, { force: true });
  await symlink(target, temporary);
  await rename(temporary, path);
}

const versions = join(prefix, 'lib/tskata');
const name = await hashTree(join(build, 'lib'));
const destination = join(versions, name);
await mkdir(versions, { recursive: true });
await mkdir(join(prefix, 'bin'), { recursive: true });
const present = await readdir(versions);
if (!present.includes(name)) {
  const temporary = join(versions, `.${name}.${process.pid}`);
  await cp(join(build, 'lib'), temporary, { recursive: true, verbatimSymlinks: true });
  await rename(temporary, destination).catch(async (error: NodeJS.ErrnoException) => {
    await rm(temporary, { recursive: true, force: true });
    // Another installation of the same programs was quicker.
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
  });
}
for (const command of COMMANDS) await replaceLink(join('../lib/tskata', name, command), join(prefix, 'bin', command));
console.log(`==> commands ${COMMANDS.join(' and ')} in ${join(prefix, 'bin')}`);
