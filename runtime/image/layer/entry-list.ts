/**
 * Owns the stored form of a layer's entry list: JSON in a file next to the block images, so that a new image on known
 * base layers need not unpack those again. A file of another version or form is treated as missing.
 */
import { readFile } from 'node:fs/promises';
import { writeFileAtomically } from '../store/files.ts';
import type { LayerEntry } from './scan.ts';

/** Changes whenever `scanLayer` would judge an entry differently. */
const ENTRY_LIST_VERSION = 1;

type StoredEntry = Omit<LayerEntry, 'xattrs'> & { readonly xattrs: readonly (readonly [string, string])[] };

/** Reads a list; undefined when there is none of this version. */
export async function readEntryList(path: string): Promise<LayerEntry[] | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
  try {
    const stored = JSON.parse(text) as { readonly version: number; readonly entries: StoredEntry[] };
    if (stored.version !== ENTRY_LIST_VERSION) return undefined;
    return stored.entries.map((entry) => ({
      ...entry,
      xattrs: entry.xattrs.map(([name, value]) => ({ name, value: Buffer.from(value, 'base64') })),
    }));
  } catch {
    // A file of ours is whole or absent; one that is neither is only a cache that has to be made again.
    return undefined;
  }
}

export async function writeEntryList(path: string, entries: readonly LayerEntry[]): Promise<void> {
  const stored = entries.map((entry) => ({
    ...entry,
    xattrs: entry.xattrs.map(({ name, value }) => [name, Buffer.from(value).toString('base64')]),
  }));
  await writeFileAtomically(path, JSON.stringify({ version: ENTRY_LIST_VERSION, entries: stored }));
}
