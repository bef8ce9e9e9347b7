/**
 * Owns the writable disk of a container: an empty ext4 file system, made once per size and copied sparsely for each
 * container. It does not know who uses a copy, or for how long.
 */

import { constants } from 'node:fs';
import { copyFile, type FileHandle, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { run } from '../host/process.ts';
import { Json } from './json.ts';
import { temporaryName, withFile, writeFileAtomically } from './store/files.ts';
import { withLock } from './store/lock.ts';
import { StorePaths } from './store/paths.ts';
import { withWorkplace } from './workplace.ts';

const MIB = 1024 * 1024;
/** A smaller ext4 has no room for its own tables and a little more. */
const MIN_SCRATCH_BYTES = 16 * MIB;
const MAX_SCRATCH_BYTES = 16 * 1024 * 1024 * MIB;
/** Directories that the guest's overlay wants on the disk. */
const OVERLAY_DIRECTORIES = ['upper', 'work'];
/** Changes whenever templates would be made differently. */
const TEMPLATE_VERSION = 1;
const TOOL_TIMEOUT_MS = 120_000;
const COPY_BYTES = 4 * MIB;

/**
 * No journal: nobody mounts the disk again after its machine has ended. No checksums of metadata, which cost the guest
 * time; those of the groups (uninit_bg) let inode tables stay holes. `discard` tells mkfs that holes read as zeros, so
 * that the guest's kernel does not fill the tables in the background.
 */
const MKFS = [
  '-q',
  '-F',
  '-m',
  '0',
  '-O',
  '^has_journal,^metadata_csum,uninit_bg,^resize_inode',
  '-E',
  'discard,root_owner=0:0',
  '-I',
  '256',
];

/** A run of bytes of the template that is not a hole. */
interface DataRun {
  readonly start: number;
  readonly length: number;
}

/** Writes an empty disk of `sizeBytes` (rounded up to MiB) to `target`, which must not exist. */
export async function createScratchDisk(root: string, sizeBytes: number, target: string): Promise<void> {
  const size = Math.ceil(sizeBytes / MIB) * MIB;
  if (!(size >= MIN_SCRATCH_BYTES && size <= MAX_SCRATCH_BYTES)) {
    throw new TskataError(
      Code.OutOfRange,
      `make disk ${target} - ${sizeBytes} bytes - it can have from ${MIN_SCRATCH_BYTES / MIB} MiB to ${MAX_SCRATCH_BYTES / MIB} MiB`,
    );
  }
  const paths = new StorePaths(root);
  const template = join(paths.scratch, `${size / MIB}m-v${TEMPLATE_VERSION}.ext4`);
  const runs = (await readRuns(template)) ?? (await makeTemplate(paths, template, size));
  try {
    await copyTemplate(template, runs, size, target);
  } catch (error) {
    await rm(target, { force: true });
    throw error;
  }
}

async function makeTemplate(paths: StorePaths, template: string, size: number): Promise<readonly DataRun[]> {
  await paths.create();
  return await withLock(paths.locks, `scratch-${size}`, TOOL_TIMEOUT_MS, async () => {
    const known = await readRuns(template);
    if (known !== undefined) return known;
    return await withWorkplace(paths, async (directory) => {
      const content = join(directory, 'content');
      for (const name of OVERLAY_DIRECTORIES) await mkdir(join(content, name), { recursive: true, mode: 0o755 });
      const temporary = temporaryName(template);
      try {
        await withFile(temporary, 'wx', (file) => file.truncate(size));
        await run('mkfs.ext4', [...MKFS, '-d', content, temporary], {
          timeoutMs: TOOL_TIMEOUT_MS,
          env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
        });
        await withFile(temporary, 'r', (file) => file.sync());
        const runs = await findData(temporary);
        await rename(temporary, template);
        // Written last: a template counts only with the list of its data.
        await writeFileAtomically(`${template}.json`, JSON.stringify({ version: TEMPLATE_VERSION, runs }));
        return runs;
      } finally {
        await rm(temporary, { force: true });
      }
    });
  });
}

/** Node cannot ask for holes (SEEK_DATA); qemu-img can, and is there for QEMU's sake. */
async function findData(path: string): Promise<DataRun[]> {
  const { stdout } = await run('qemu-img', ['map', '-f', 'raw', '--output=json', path], { timeoutMs: TOOL_TIMEOUT_MS });
  const map = JSON.parse(stdout) as { readonly start: number; readonly length: number; readonly data: boolean }[];
  return map.filter((run) => run.data).map(({ start, length }) => ({ start, length }));
}

async function readRuns(template: string): Promise<readonly DataRun[] | undefined> {
  const text = await readFile(`${template}.json`, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  return Json.parse(text, `${template}.json`)
    .objects('runs')
    .map((run) => ({ start: run.size('start'), length: run.size('length') }));
}

/** By reflink where the file system can, else the data only. */
async function copyTemplate(template: string, runs: readonly DataRun[], size: number, target: string): Promise<void> {
  try {
    await copyFile(template, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    return;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw error;
  }
  await withFile(template, 'r', (from) => withFile(target, 'wx', (to) => copyRuns(from, to, runs, size)));
}

async function copyRuns(from: FileHandle, to: FileHandle, runs: readonly DataRun[], size: number): Promise<void> {
  await to.truncate(size);
  const buffer = Buffer.allocUnsafe(COPY_BYTES);
  for (const { start, length } of runs) {
    for (let at = start; at < start + length; ) {
      const { bytesRead } = await from.read(buffer, 0, Math.min(buffer.length, start + length - at), at);
      if (bytesRead === 0) break;
      await to.write(buffer, 0, bytesRead, at);
      at += bytesRead;
    }
  }
}
