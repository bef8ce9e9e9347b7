/**
 * A bundle on disk: a directory with config.json (OCI runtime spec, bundle.md). It is written for the owner alone,
 * because the environment in it holds secrets.
 */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Spec } from './spec.ts';
import { parseJson, parseSpec } from './validate.ts';

const MAX_CONFIG_BYTES = 4 * 1024 * 1024;
const OWNER_ONLY = 0o600;

/** A configuration and where it came from. */
export interface Bundle {
  readonly directory: string;
  readonly spec: Spec;
}

/**
 * Reads and checks a bundle.
 * @throws TskataError not_found (no config.json), invalid_argument (with JSON paths).
 */
export async function readBundle(directory: string): Promise<Bundle> {
  const file = join(directory, 'config.json');
  const text = await readConfig(file);
  return { directory: resolve(directory), spec: parseSpec(file, parseJson(file, text)) };
}

async function readConfig(file: string): Promise<string> {
  try {
    const { size } = await stat(file);
    if (size > MAX_CONFIG_BYTES) {
      throw new TskataError(Code.InvalidArgument, `${file}: ${size} bytes, more than the ${MAX_CONFIG_BYTES} allowed`);
    }
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new TskataError(Code.NotFound, `read bundle: ${file} does not exist; is its directory an OCI bundle?`);
    }
    throw TskataError.from(error);
  }
}

/** Where the root file system of a bundle lies (root.path is relative to the bundle). */
export function rootDirectory(bundle: Bundle): string {
  return resolve(bundle.directory, bundle.spec.root?.path ?? 'rootfs');
}

/** Writes config.json into an existing directory. */
export async function writeBundle(directory: string, spec: Spec): Promise<void> {
  await writeFile(join(directory, 'config.json'), `${JSON.stringify(spec, null, 2)}\n`, {
    mode: OWNER_ONLY,
    flag: 'wx',
  });
}
