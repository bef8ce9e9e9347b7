/**
 * Owns: everything that decides what the kernel will be (source, options, compiler), the key made from it, and where
 * results of a key are kept.
 * Refuses to know: how a kernel is compiled.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { assertDistinct, type KernelOption, parseFragment } from './fragment.ts';

/** Raised when the steps of the build change in a way that changes its output. */
export const BUILDER_VERSION = 1;

const SOURCE_FOLDER = '/usr/src';
const FRAGMENT_FOLDER = join(import.meta.dirname, 'config');
const PATCH_FOLDER = join(import.meta.dirname, 'patches');
const QUERY_TIMEOUT_MS = 10_000;

export type KernelSource = {
  /** The archive of Debian's linux-source package. */
  readonly archive: string;
  /** Series, for example `6.1`. */
  readonly series: string;
  /** Package version (`6.1.192-2`), or the hash of an archive that no package owns. */
  readonly version: string;
};

/** A change to the source: what configuration cannot say. */
export type KernelPatch = { readonly name: string; readonly text: string };

export type KernelInputs = {
  readonly source: KernelSource;
  /** In the order in which they are applied. */
  readonly patches: readonly KernelPatch[];
  readonly options: readonly KernelOption[];
  /** First line of the version of compiler and linker. */
  readonly toolchain: readonly string[];
};

/** Collects the inputs of a build from this machine. */
export async function readKernelInputs(): Promise<KernelInputs> {
  const [source, patches, options, toolchain] = await Promise.all([
    findSource(SOURCE_FOLDER),
    readTexts(PATCH_FOLDER, '.patch'),
    readFragments(FRAGMENT_FOLDER),
    readToolchain(),
  ]);
  return { source, patches, options, toolchain };
}

/** The key of a result: equal exactly when the inputs are equal. Reasons and the order of fragments do not matter. */
export function cacheKey(inputs: KernelInputs, builderVersion: number = BUILDER_VERSION): string {
  const options = inputs.options.map(({ name, value }) => `${name}=${value}`).sort();
  const text = JSON.stringify({
    builderVersion,
    source: inputs.source.version,
    series: inputs.source.series,
    patches: inputs.patches.map(({ text }) => text),
    toolchain: inputs.toolchain,
    options,
  });
  return createHash('sha256').update(text).digest('hex');
}

/** The folder that holds one subfolder per key: $TSKATA_CACHE, else $XDG_CACHE_HOME/tskata, else ~/.cache/tskata. */
export function cacheFolder(env: Readonly<Record<string, string | undefined>>): string {
  const own = env.TSKATA_CACHE;
  if (own !== undefined && own !== '') return join(own, 'guest-kernel');
  const xdg = env.XDG_CACHE_HOME;
  return join(xdg !== undefined && xdg !== '' ? xdg : join(homedir(), '.cache'), 'tskata', 'guest-kernel');
}

/** Picks the newest series among file names such as `linux-source-6.1.tar.xz`. */
export function newestSource(names: readonly string[]): { name: string; series: string } | undefined {
  const found = names.flatMap((name) => {
    const series = /^linux-source-(\d+(?:\.\d+)+)\.tar\.xz$/.exec(name)?.[1];
    return series === undefined ? [] : [{ name, series }];
  });
  return found.sort((a, b) => compareSeries(b.series, a.series))[0];
}

function compareSeries(a: string, b: string): number {
  const [left, right] = [a.split('.').map(Number), b.split('.').map(Number)];
  for (let index = 0; index < Math.max(left.length, right.length); index++) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

async function findSource(folder: string): Promise<KernelSource> {
  const newest = newestSource(await readdir(folder).catch(() => []));
  if (newest === undefined) {
    throw new Error(`find kernel source in ${folder}: no linux-source-*.tar.xz: apt-get install linux-source`);
  }
  const archive = join(folder, newest.name);
  // prints name, tab, version; fails for a file that was put there by hand
  const installed = await firstLine('dpkg-query', ['--show', `linux-source-${newest.series}`]).catch(() => '');
  const version = installed.split('\t')[1] ?? `sha256:${await hashFile(archive)}`;
  return { archive, series: newest.series, version };
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

async function readFragments(folder: string): Promise<KernelOption[]> {
  const fragments = await readTexts(folder, '.config');
  if (fragments.length === 0) throw new Error(`read kernel fragments in ${folder}: no *.config file`);
  const options = fragments.flatMap(({ name, text }) => parseFragment(name, text));
  assertDistinct(options);
  return options;
}

/** The files of a folder whose names end in `suffix`, by name. */
async function readTexts(folder: string, suffix: string): Promise<{ name: string; text: string }[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(suffix)).sort();
  return Promise.all(names.map(async (name) => ({ name, text: await readFile(join(folder, name), 'utf8') })));
}

async function readToolchain(): Promise<string[]> {
  return Promise.all(['gcc', 'ld'].map((tool) => firstLine(tool, ['--version'])));
}

async function firstLine(program: string, args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(program, args, {
      timeout: QUERY_TIMEOUT_MS,
      env: { ...process.env, LC_ALL: 'C' },
    });
    return stdout.split('\n')[0] ?? '';
  } catch (cause) {
    throw new Error(`run ${program} ${args.join(' ')}: failed: is it installed? (apt-get install build-essential)`, {
      cause,
    });
  }
}
