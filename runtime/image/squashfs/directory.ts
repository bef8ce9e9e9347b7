/**
 * Owns the encoding of one squashfs directory listing: runs of entries behind a header that holds what they share, and
 * for long listings an index from names to metadata blocks. It knows no inode but its place, number and type.
 */
import { METADATA_BLOCK_BYTES, type MetadataPlace, type MetadataStream, placeOf } from './metadata.ts';

/** What one header can stand for. */
const MAX_RUN = 256;
const MAX_NUMBER_DISTANCE = 0x7fff;

/** A name in a directory. */
export interface ListedEntry {
  /** Byte string of 1 to 255 bytes. */
  readonly name: string;
  /** Short-form inode type. */
  readonly type: number;
  readonly number: number;
  readonly place: MetadataPlace;
}

/** Points at a header that begins in another metadata block than the one before. */
export interface DirectoryIndexEntry {
  /** Position in the listing. */
  readonly position: number;
  /** Metadata block, relative to the directory table. */
  readonly block: number;
  /** First name behind it. */
  readonly name: string;
}

/** Appends the listing of entries, which are in byte order, and returns its index. */
export function appendListing(table: MetadataStream, entries: readonly ListedEntry[]): DirectoryIndexEntry[] {
  const start = table.length;
  const index: DirectoryIndexEntry[] = [];
  let indexedBlock = Math.floor(start / METADATA_BLOCK_BYTES);
  for (let at = 0; at < entries.length; ) {
    const first = entries[at] as ListedEntry;
    const blockNumber = Math.floor(table.length / METADATA_BLOCK_BYTES);
    if (blockNumber !== indexedBlock) {
      indexedBlock = blockNumber;
      index.push({ position: table.length - start, block: placeOf(table.length).block, name: first.name });
    }
    const run = entries.slice(at, at + runLength(entries, at, table.length));
    appendRun(table, first, run);
    at += run.length;
  }
  return index;
}

/** How many entries from `at` on one header can hold; a run ends when it has crossed into the next metadata block. */
function runLength(entries: readonly ListedEntry[], at: number, position: number): number {
  const first = entries[at] as ListedEntry;
  let end = position + 12;
  let count = 0;
  for (let index = at; index < entries.length && count < MAX_RUN; index++) {
    const entry = entries[index] as ListedEntry;
    const near = Math.abs(entry.number - first.number) <= MAX_NUMBER_DISTANCE;
    if (entry.place.block !== first.place.block || !near) break;
    if (count > 0 && Math.floor(end / METADATA_BLOCK_BYTES) !== Math.floor(position / METADATA_BLOCK_BYTES)) break;
    end += 8 + entry.name.length;
    count++;
  }
  return count;
}

function appendRun(table: MetadataStream, first: ListedEntry, run: readonly ListedEntry[]): void {
  const header = Buffer.alloc(12);
  header.writeUInt32LE(run.length - 1, 0);
  header.writeUInt32LE(first.place.block, 4);
  header.writeUInt32LE(first.number, 8);
  table.append(header);
  for (const entry of run) {
    const bytes = Buffer.alloc(8 + entry.name.length);
    bytes.writeUInt16LE(entry.place.offset, 0);
    bytes.writeInt16LE(entry.number - first.number, 2);
    bytes.writeUInt16LE(entry.type, 4);
    bytes.writeUInt16LE(entry.name.length - 1, 6);
    bytes.write(entry.name, 8, 'latin1');
    table.append(bytes);
  }
}
