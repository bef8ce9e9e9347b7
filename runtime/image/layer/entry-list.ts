/**
 * Owns the stored form of a layer's entry list: a line of JSON per entry, in a file next to the block images, so that a
 * new image on known base layers need not unpack those again. A file of another version or form is treated as missing.
 */
import { open, readFile, rename, rm } from 'node:fs/promises';
import { temporaryName } from '../store/files.ts';
import type { LayerEntry } from './scan.ts';

/** Changes whenever `scanLayer` would judge an entry differently. */
const ENTRY_LIST_VERSION = 2;
/** First line: what the file is, and how many entries follow. */
interface Head {
  readonly version: number;
  readonly entries: number;
}
const WRITE_BYTES = 1024 * 1024;

type StoredEntry = Omit<LayerEntry, 'xattrs'> & { readonly xattrs: readonly (readonly [string, string])[] };

/** Reads a list; undefined when there is none of this version. */
export async function readEntryList(path: string): Promise<LayerEntry[] | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch {
    return undefined;
  }
  try {
    return decode(bytes);
  } catch {
    // A file of ours is whole or absent; one that is neither is only a cache that has to be made again.
    return undefined;
  }
}

function decode(bytes: Buffer): LayerEntry[] | undefined {
  const entries: LayerEntry[] = [];
  let head: Head | undefined;
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0x0a, at);
    if (end === -1) return undefined;
    const value = JSON.parse(bytes.toString('utf8', at, end)) as Head | StoredEntry;
    at = end + 1;
    if (head === undefined) {
      head = value as Head;
      if (head.version !== ENTRY_LIST_VERSION) return undefined;
      continue;
    }
    const entry = value as StoredEntry;
    entries.push({
      ...entry,
      xattrs: entry.xattrs.map(([name, text]) => ({ name, value: Buffer.from(text, 'base64') })),
    });
  }
  return head?.entries === entries.length ? entries : undefined;
}

export async function writeEntryList(path: string, entries: readonly LayerEntry[]): Promise<void> {
  const temporary = temporaryName(path);
  const file = await open(temporary, 'wx', 0o600);
  try {
    const head: Head = { version: ENTRY_LIST_VERSION, entries: entries.length };
    let pending = `${JSON.stringify(head)}\n`;
    for (const entry of entries) {
      const xattrs = entry.xattrs.map(({ name, value }) => [name, Buffer.from(value).toString('base64')]);
      pending += `${JSON.stringify({ ...entry, xattrs })}\n`;
      if (pending.length < WRITE_BYTES) continue;
      await file.writeFile(pending);
      pending = '';
    }
    await file.writeFile(pending);
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}
