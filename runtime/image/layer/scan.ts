/**
 * Owns the list of a layer's entries: names normalised, bounds kept, attributes sifted. It is the only place where a
 * layer's stream is judged entry by entry; what comes out can be trusted in form. It does not know other layers.
 */
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import { type ImageLimits, MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_SYMLINK_BYTES } from '../limits.ts';
import type { TarEntry } from '../tar/entry.ts';
import { TarError } from '../tar/header.ts';
import { printable, readTar, type TarBytes } from '../tar/reader.ts';
import { keptXattrs } from './xattr-policy.ts';

/** An entry whose path is a list of names: none empty, ".", ".." or with "/" or a zero byte; empty for the root. */
export interface LayerEntry extends Omit<TarEntry, 'path' | 'target'> {
  readonly names: readonly string[];
  /** Target of a symlink, as it stands. */
  readonly target: string;
  /** Target of a hard link. */
  readonly linkNames: readonly string[];
}

/** Linux has 12 bits of major and 20 bits of minor number. */
const MAX_MAJOR = 0xfff;
const MAX_MINOR = 0xfffff;
/** What an entry costs in memory beside its strings and attributes. */
const ENTRY_OVERHEAD_BYTES = 64;

/** Reads a layer's stream. Throws TskataError that names the layer and the entry. */
export function scanLayer(bytes: TarBytes, layer: string, limits: ImageLimits): LayerEntry[] {
  const entries: LayerEntry[] = [];
  let content = 0;
  let metadata = 0;
  let current = '';
  try {
    for (const raw of readTar(bytes)) {
      current = raw.path;
      const entry = checkEntry(raw);
      entries.push(entry);
      content += entry.size;
      metadata += costOf(raw, entry);
      if (entries.length > limits.layerEntries)
        throw new TarError(`the layer has more than ${limits.layerEntries} entries`);
      if (content > limits.layerContentBytes)
        throw new TarError(`the layer's files have more than ${limits.layerContentBytes} bytes`);
      if (metadata > limits.layerMetadataBytes) {
        throw new TarError(`the layer's names and attributes have more than ${limits.layerMetadataBytes} bytes`);
      }
      current = `behind ${raw.path}`;
    }
  } catch (error) {
    throw error instanceof TarError ? layerError(layer, current, error.message) : error;
  }
  return entries;
}

/** An error about one entry of a layer, the untrusted name made printable. */
export function layerError(layer: string, entry: string, fact: string): TskataError {
  return new TskataError(Code.InvalidArgument, `convert layer ${layer} - entry '${printable(entry)}' - ${fact}`);
}

function checkEntry(raw: TarEntry): LayerEntry {
  const { path, target, ...rest } = raw;
  if (raw.kind === 'symlink' && (target === '' || target.length > MAX_SYMLINK_BYTES || target.includes('\0'))) {
    throw new TarError(`the symlink's target is empty, longer than ${MAX_SYMLINK_BYTES} bytes or has a zero byte`);
  }
  if (
    (raw.kind === 'char' || raw.kind === 'block') &&
    (raw.major > MAX_MAJOR || raw.minor > MAX_MINOR || raw.major < 0 || raw.minor < 0)
  ) {
    throw new TarError(`the device number ${raw.major}:${raw.minor} is out of range`);
  }
  return {
    ...rest,
    names: namesOf(path),
    target: raw.kind === 'symlink' ? target : '',
    linkNames: raw.kind === 'link' ? namesOf(target) : [],
    xattrs: keptXattrs(raw.xattrs),
  };
}

/**
 * A path relative to the layer's root; a leading "/" or "./" means nothing, as in other engines. ".." is refused rather
 * than resolved: no tool that makes layers writes it.
 */
function namesOf(path: string): string[] {
  if (path.length > MAX_PATH_BYTES) throw new TarError(`the path is longer than ${MAX_PATH_BYTES} bytes`);
  const names: string[] = [];
  for (const name of path.split('/')) {
    if (name === '' || name === '.') continue;
    if (name === '..') throw new TarError('the path has ".." in it: it would leave the layer');
    if (name.length > MAX_NAME_BYTES) throw new TarError(`a name in the path is longer than ${MAX_NAME_BYTES} bytes`);
    if (name.includes('\0')) throw new TarError('the path has a zero byte in it');
    names.push(name);
  }
  return names;
}

function costOf(raw: TarEntry, entry: LayerEntry): number {
  let cost = ENTRY_OVERHEAD_BYTES + raw.path.length + raw.target.length + entry.extents.length * 24;
  for (const xattr of entry.xattrs) cost += xattr.name.length + xattr.value.length;
  return cost;
}
