/**
 * Owns: the guest kernel as the rest of the project sees it: one call that gives images, from the user's own kernel, from the cache, or by building.
 * Refuses to know: QEMU, and how a step of the build works.
 *
 * As a program: `node guest-kernel/build.ts` builds when needed and prints the result as JSON.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { acquireBuildLock } from './build-lock.ts';
import { type BuildRecord, compileKernel, RESULT_FILES } from './compile.ts';
import { cacheFolder, cacheKey, type KernelInputs, readKernelInputs } from './inputs.ts';
import { inspectKernelImage, OVERRIDE_VARIABLE } from './override.ts';
import { Progress } from './progress.ts';

export type GuestKernel = {
  /** Compressed image with the boot header. The user's own file when there is one. */
  readonly bzImage: string;
  /** ELF image, stripped, with the PVH entry: the cheapest to boot. The user's own file when there is one. */
  readonly vmlinux: string;
  /** What `uname -r` will say; empty for an ELF file of the user, which does not tell. */
  readonly release: string;
  /** Equal keys mean equal kernels. */
  readonly key: string;
  /** Where it comes from. */
  readonly origin: 'built' | 'override';
};

const LOCK_TIMEOUT_MS = 3 * 3_600_000;
/** Between key and random part of the name of a build tree. */
const WORK_MARK = '.work-';

/**
 * Gives the guest kernel: the file in TSKATA_GUEST_KERNEL, else the cached result for the present inputs, else a new build
 * (minutes, with progress on `progress`). Two callers at once build once.
 *
 * @throws Error when an override is unusable, a tool or the source is missing, an option did not survive, or a step failed
 */
export async function ensureGuestKernel(progress: Progress = new Progress(process.stderr)): Promise<GuestKernel> {
  const own = await findOverride();
  if (own !== undefined) return own;
  const inputs = await readKernelInputs();
  const key = cacheKey(inputs);
  const folder = join(cacheFolder(process.env), key);
  return (await readResult(folder, key)) ?? buildInto(folder, key, inputs, progress);
}

/** Like `ensureGuestKernel`, but never builds: undefined when it would have to. */
export async function findGuestKernel(): Promise<GuestKernel | undefined> {
  const own = await findOverride();
  if (own !== undefined) return own;
  const key = cacheKey(await readKernelInputs());
  return readResult(join(cacheFolder(process.env), key), key);
}

async function findOverride(): Promise<GuestKernel | undefined> {
  const path = process.env[OVERRIDE_VARIABLE];
  if (path === undefined || path === '') return undefined;
  const { release, key } = await inspectKernelImage(path);
  return { bzImage: path, vmlinux: path, release: release ?? '', key, origin: 'override' };
}

async function readResult(folder: string, key: string): Promise<GuestKernel | undefined> {
  // the folder appears by rename with everything in it, so its record means that all is there
  const text = await readFile(join(folder, RESULT_FILES.record), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const record: Partial<BuildRecord> = JSON.parse(text);
  if (typeof record.release !== 'string')
    throw new Error(`read ${join(folder, RESULT_FILES.record)}: no release in it: remove ${folder} and build again`);
  return {
    bzImage: join(folder, RESULT_FILES.bzImage),
    vmlinux: join(folder, RESULT_FILES.vmlinux),
    release: record.release,
    key,
    origin: 'built',
  };
}

async function buildInto(folder: string, key: string, inputs: KernelInputs, progress: Progress): Promise<GuestKernel> {
  const lock = await acquireBuildLock(key, LOCK_TIMEOUT_MS, () =>
    progress.step('another process builds the same kernel: waiting for it'),
  );
  try {
    const other = await readResult(folder, key);
    if (other !== undefined) return other;
    const parent = join(folder, '..');
    await mkdir(parent, { recursive: true });
    if (lock !== undefined) await removeLeftovers(parent, key);
    const work = `${folder}${WORK_MARK}${randomUUID()}`;
    const result = join(work, 'result');
    try {
      await compileKernel(inputs, join(work, 'tree'), result, progress);
      await publish(result, folder);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
    const built = await readResult(folder, key);
    if (built === undefined) throw new Error(`build guest kernel: ${folder} vanished after the build`);
    progress.finish(`built ${built.release}`);
    return built;
  } finally {
    await lock?.release();
  }
}

/** Puts a finished folder in its place in one step. */
async function publish(result: string, folder: string): Promise<void> {
  try {
    await rename(result, folder);
  } catch (error) {
    // a builder that did not see our lock was first: its result is equal, as the key is
    if (error instanceof Error && 'code' in error && (error.code === 'ENOTEMPTY' || error.code === 'EEXIST')) return;
    throw error;
  }
}

/** A killed builder leaves its tree, more than a gigabyte. Whoever holds the lock of a key may remove that key's. */
async function removeLeftovers(parent: string, ownKey: string): Promise<void> {
  for (const entry of await readdir(parent)) {
    const [key = '', random] = entry.split(WORK_MARK);
    if (random === undefined) continue;
    const lock = key === ownKey ? undefined : await acquireBuildLock(key, 0, () => {});
    if (key !== ownKey && lock === undefined) continue; // its builder is alive
    await rm(join(parent, entry), { recursive: true, force: true });
    await lock?.release();
  }
}

if (import.meta.main) {
  try {
    process.stdout.write(`${JSON.stringify(await ensureGuestKernel(), undefined, 2)}\n`);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
