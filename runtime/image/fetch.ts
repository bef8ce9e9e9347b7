/**
 * Owns the way of an image from a registry or an archive into the blobs: resolve the name, copy what is missing, check
 * every digest and size, store. It converts nothing and writes no record.
 */
import { lstat, mkdir, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { type Digest, digestOf, hexOf } from './digest.ts';
import { choosePlatform, type Descriptor, decodeManifest, type Manifest } from './manifest.ts';
import type { OnProgress } from './progress.ts';
import { type ArchiveSource, formatReference, type Reference } from './reference.ts';
import { copyBlobs, copyImage, dockerName, inspectManifest, type RegistryAccess } from './skopeo.ts';
import { hasBlob, importBlob, writeBlob } from './store/blobs.ts';
import { withLock } from './store/lock.ts';
import type { StorePaths } from './store/paths.ts';
import { withWorkplace } from './workplace.ts';

/** How to fetch. */
export interface FetchOptions {
  readonly access: RegistryAccess;
  readonly onProgress: OnProgress;
  readonly signal?: AbortSignal;
}

/** What was fetched: all its blobs are stored and verified. */
export interface Fetched {
  /** What the name stands for: digest of an index or of the manifest. */
  readonly digest: Digest;
  readonly manifestDigest: Digest;
  readonly manifest: Manifest;
}

/** Another process that pulls the same image is waited for this long. */
const LOCK_DEADLINE_MS = 60 * 60_000;
/** How often the growth of the download is looked at: skopeo reports nothing to a program. */
const GROWTH_INTERVAL_MS = 200;
/** A download that does not grow for so long is given up. */
const STALL_MS = 180_000;

/** Fetches from a registry. */
export async function fetchFromRegistry(
  paths: StorePaths,
  reference: Reference,
  options: FetchOptions,
): Promise<Fetched> {
  const name = formatReference(reference);
  const access = { ...options.access, registry: reference.registry };
  return await withWorkplace(paths, async (directory) => {
    options.onProgress({ phase: 'resolve', done: 0, total: 1, what: name });
    const resolved = await resolveReference(reference, access, directory, options.signal);
    const { manifest, manifestDigest } = resolved;
    const source = dockerName({ ...reference, digest: manifestDigest });
    await withLock(paths.locks, `pull-${hexOf(manifestDigest)}`, LOCK_DEADLINE_MS, async () => {
      const missing = await missingBlobs(paths, manifest);
      if (missing.length === 0) return;
      const wanted = { source, name, manifest, missing, access, directory };
      await importMissing(paths, await copyMissing(wanted, options), missing, options.onProgress);
    });
    await writeBlob(paths, resolved.bytes);
    return resolved;
  });
}

/** Copies one image out of an archive or a layout; `plain` is its file without compression, or the directory. */
export async function fetchFromArchive(
  paths: StorePaths,
  source: ArchiveSource,
  plain: string,
  options: FetchOptions,
): Promise<Fetched> {
  return await withWorkplace(paths, async (directory) => {
    const target = join(directory, 'image');
    await mkdir(target, { mode: 0o700 });
    // skopeo cuts its argument at colons, which a path may contain.
    const alias = join(directory, 'source');
    await symlink(resolve(plain), alias);
    const name = `${source.transport}:${alias}${source.image === '' ? '' : `:${source.image}`}`;
    const shownName = `${source.transport}:${source.path}${source.image === '' ? '' : `:${source.image}`}`;
    try {
      await watched(directory, shownName, 0, options, (signal) => copyImage(name, target, {}, directory, signal));
    } catch (caught) {
      const error = TskataError.from(caught);
      throw new TskataError(error.code, error.message.replaceAll(alias, source.path), error);
    }
    const bytes = await readFile(join(target, 'manifest.json'));
    const manifest = decodeManifest(bytes);
    if (manifest.kind === 'index')
      throw new TskataError(Code.InvalidArgument, `load ${shownName} - it holds several images - name one of them`);
    await importMissing(paths, target, await missingBlobs(paths, manifest), options.onProgress);
    const digest = await writeBlob(paths, bytes);
    return { digest, manifestDigest: digest, manifest };
  });
}

/** Follows a name to the manifest for this machine; every document is checked against the digest that named it. */
async function resolveReference(
  reference: Reference,
  access: RegistryAccess,
  directory: string,
  signal?: AbortSignal,
): Promise<Fetched & { readonly bytes: Uint8Array }> {
  const name = formatReference(reference);
  const bytes = await inspectManifest(dockerName(reference), access, directory, signal);
  const digest = expectDigest(bytes, reference.digest, name);
  const first = decodeManifest(bytes);
  if (first.kind === 'manifest') return { digest, manifestDigest: digest, manifest: first, bytes };
  const chosen = choosePlatform(first, name);
  const inner = await inspectManifest(dockerName({ ...reference, digest: chosen.digest }), access, directory, signal);
  expectDigest(inner, chosen.digest, name);
  const second = decodeManifest(inner);
  if (second.kind === 'index')
    throw new TskataError(Code.InvalidArgument, `pull ${name} - its index names another index - that is not an image`);
  return { digest, manifestDigest: chosen.digest, manifest: second, bytes: inner };
}

function expectDigest(bytes: Uint8Array, expected: Digest | undefined, name: string): Digest {
  const digest = digestOf(bytes);
  if (expected === undefined || digest === expected) return digest;
  throw new TskataError(
    Code.DataLoss,
    `pull ${name} - the registry answered with a manifest whose digest is ${digest} instead of ${expected}`,
  );
}

function blobsOf(manifest: Manifest): Descriptor[] {
  const unique = new Map([manifest.config, ...manifest.layers].map((blob) => [blob.digest, blob]));
  return [...unique.values()];
}

async function missingBlobs(paths: StorePaths, manifest: Manifest): Promise<Descriptor[]> {
  const missing: Descriptor[] = [];
  for (const blob of blobsOf(manifest)) if (!(await hasBlob(paths, blob))) missing.push(blob);
  return missing;
}

/** Copies the blobs that are not here yet, and no others where skopeo can do so. Returns the directory that has them. */
async function copyMissing(
  wanted: {
    readonly source: string;
    readonly name: string;
    readonly manifest: Manifest;
    readonly missing: readonly Descriptor[];
    readonly access: RegistryAccess;
    readonly directory: string;
  },
  options: FetchOptions,
): Promise<string> {
  const { source, name, manifest, missing, access, directory } = wanted;
  const target = join(directory, 'image');
  await mkdir(target, { mode: 0o700 });
  const total = missing.reduce((sum, blob) => sum + blob.size, 0);
  if (missing.length < blobsOf(manifest).length) {
    try {
      const digests = missing.map((blob) => blob.digest);
      const copy = (signal: AbortSignal): Promise<string> =>
        copyBlobs(source, digests, target, access, directory, signal);
      return await watched(directory, name, total, options, copy);
    } catch (error) {
      options.signal?.throwIfAborted();
      // A skopeo without that verb: the whole image is fetched below. Everything else comes up again there.
      if (TskataError.from(error).code !== Code.Unknown) throw error;
      await rm(target, { recursive: true, force: true });
      await mkdir(target, { mode: 0o700 });
    }
  }
  await watched(directory, name, total, options, (signal) => copyImage(source, target, access, directory, signal));
  return target;
}

async function importMissing(
  paths: StorePaths,
  target: string,
  missing: readonly Descriptor[],
  onProgress: OnProgress,
): Promise<void> {
  const total = missing.reduce((sum, blob) => sum + blob.size, 0);
  let done = 0;
  for (const blob of missing) {
    onProgress({ phase: 'verify', done, total, what: blob.digest });
    await importBlob(paths, join(target, hexOf(blob.digest)), blob);
    done += blob.size;
  }
}

/** Runs a copy, tells how it grows, and gives it up when it stops growing. */
async function watched<T>(
  directory: string,
  what: string,
  total: number,
  options: FetchOptions,
  copy: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stall = new AbortController();
  let last = 0;
  let lastGrowth = performance.now();
  const before = await sizeOf(directory);
  options.onProgress({ phase: 'download', done: 0, total, what });
  const timer = setInterval(() => {
    void sizeOf(directory).then((size) => {
      const done = Math.max(0, size - before);
      if (done !== last) lastGrowth = performance.now();
      else if (performance.now() - lastGrowth > STALL_MS) stall.abort();
      last = done;
      options.onProgress({ phase: 'download', done: total === 0 ? done : Math.min(done, total), total, what });
    });
  }, GROWTH_INTERVAL_MS);
  try {
    return await copy(options.signal ? AbortSignal.any([options.signal, stall.signal]) : stall.signal);
  } catch (error) {
    if (stall.signal.aborted)
      throw new TskataError(
        Code.DeadlineExceeded,
        `pull ${what} - nothing came for ${STALL_MS / 1000} s - the registry hangs; try again`,
        error,
      );
    throw error;
  } finally {
    clearInterval(timer);
  }
}

async function sizeOf(directory: string): Promise<number> {
  let size = 0;
  for (const name of await readdir(directory, { recursive: true }).catch(() => [])) {
    size += (await lstat(join(directory, name)).catch(() => undefined))?.size ?? 0;
  }
  return size;
}
