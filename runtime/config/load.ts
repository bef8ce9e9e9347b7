/**
 * Finds the files of a configuration: one file, and the drop-ins in the directory of its name. Refuses to know what they
 * mean.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { type ConfigText, parseConfig } from './parse.ts';
import type { Config } from './schema.ts';
import { checkParents, readTrustedFile } from './trusted-file.ts';

/** The host's own configuration. It may be absent: then every key has its default. */
export const DEFAULT_CONFIG_PATH = '/etc/tskata/config.toml';

const MAX_DROP_INS = 256;

/** Where a configuration came from, and what it says. */
export interface LoadedConfig {
  readonly config: Config;
  /** The file that was asked for; it need not exist when nobody named it. */
  readonly path: string;
  /** Those that were read. */
  readonly files: readonly string[];
}

/**
 * Reads FILE.toml, then FILE.d/*.toml in the order of their names (bytes).
 * `path`: empty for the host's own.
 * @throws TskataError naming file and key.
 */
export async function loadConfig(path: string): Promise<LoadedConfig> {
  const file = path === '' ? DEFAULT_CONFIG_PATH : path;
  const text = await readTrustedFile(file);
  if (text === undefined && path !== '') throw new TskataError(Code.NotFound, `read ${path}: no such file`);
  const texts: ConfigText[] = text === undefined ? [] : [{ path: file, text }];
  for (const dropIn of await dropIns(file.replace(/\.toml$/, '.d'))) {
    texts.push({ path: dropIn, text: (await readTrustedFile(dropIn)) ?? '' });
  }
  return { config: parseConfig(texts), path: file, files: texts.map((read) => read.path) };
}

async function dropIns(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
    throw new TskataError(Code.FailedPrecondition, `read ${directory}: ${error.message}`);
  });
  const wanted = names.filter((name) => name.endsWith('.toml') && !name.startsWith('.'));
  if (wanted.length > MAX_DROP_INS) {
    throw new TskataError(Code.FailedPrecondition, `read ${directory}: more than ${MAX_DROP_INS} files`);
  }
  if (wanted.length > 0) await checkParents(directory, directory);
  return wanted
    .sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)))
    .map((name) => join(directory, name));
}
