/**
 * Owns the four ways in which GNU tar writes a sparse file: the old form (a map in the header and in blocks behind it)
 * and the pax forms 0.0, 0.1 and 1.0. Each becomes extents that are checked once, here.
 */

import type { Extent } from '../layer/tree.ts';
import { MAX_SPARSE_EXTENTS } from '../limits.ts';
import { number, TAR_BLOCK_BYTES, TarError } from './header.ts';
import { type DecodedPax, paxNumber } from './pax.ts';

/** A run of data: where it belongs in the file. Runs follow each other without gaps in the archive. */
interface SparseRun {
  readonly at: number;
  readonly length: number;
}

/** Reads the archive's bytes from a position; TarError when it ends before. */
export type ReadAt = (position: number, length: number) => Buffer;

/** What a sparse entry really is. */
export interface SparseFile {
  readonly runs: readonly SparseRun[];
  readonly realSize: number;
  /** Where the data begins in the archive. */
  readonly dataAt: number;
}

const OLD_HEADER_RUNS = 4;
const OLD_BLOCK_RUNS = 21;
const RUN_BYTES = 24;

/** The old form: four runs in the header, 21 in each block behind it; `position` is the one behind the header. */
export function readOldSparse(header: Buffer, position: number, readAt: ReadAt): SparseFile {
  const runs: SparseRun[] = [];
  collect(runs, header, 386, OLD_HEADER_RUNS);
  let extended = header[482] === 1;
  let dataAt = position;
  while (extended) {
    const block = readAt(dataAt, TAR_BLOCK_BYTES);
    dataAt += TAR_BLOCK_BYTES;
    collect(runs, block, 0, OLD_BLOCK_RUNS);
    extended = block[504] === 1;
  }
  return { runs, realSize: number(header, 483, 12, 'real size'), dataAt };
}

function collect(runs: SparseRun[], block: Buffer, at: number, count: number): void {
  for (let index = 0; index < count; index++) {
    const start = at + index * RUN_BYTES;
    if (block[start] === 0) return;
    runs.push({
      at: number(block, start, 12, 'sparse offset'),
      length: number(block, start + 12, 12, 'sparse length'),
    });
    if (runs.length > MAX_SPARSE_EXTENTS) throw tooMany();
  }
}

/** The pax forms; undefined when the entry is not sparse. */
export function readPaxSparse(pax: DecodedPax, dataAt: number, size: number, readAt: ReadAt): SparseFile | undefined {
  const major = pax.records.get('GNU.sparse.major')?.toString('latin1');
  const minor = pax.records.get('GNU.sparse.minor')?.toString('latin1');
  const realSize = (key: string): number => {
    const value = pax.records.get(key);
    if (value === undefined) throw new TarError(`the sparse file has no ${key}`);
    return paxNumber(value, key);
  };
  if (major === '1' && minor === '0') {
    const map = readInlineMap(dataAt, size, readAt);
    return { ...map, realSize: realSize('GNU.sparse.realsize') };
  }
  const map = pax.records.get('GNU.sparse.map');
  if (map !== undefined) {
    const numbers = map.toString('latin1').split(',').map(whole);
    return { runs: pairs(numbers), realSize: realSize('GNU.sparse.size'), dataAt };
  }
  if (pax.repeated.length > 0) {
    const numbers = pax.repeated.map(({ key, value }, index) => {
      if (key !== (index % 2 === 0 ? 'GNU.sparse.offset' : 'GNU.sparse.numbytes'))
        throw new TarError('the sparse map is malformed');
      return whole(value);
    });
    return { runs: pairs(numbers), realSize: realSize('GNU.sparse.size'), dataAt };
  }
  if (major !== undefined || minor !== undefined) throw new TarError(`the sparse format ${major}.${minor} is unknown`);
  return undefined;
}

/** Form 1.0: decimal lines before the data, filled up to a block. */
function readInlineMap(position: number, size: number, readAt: ReadAt): { runs: SparseRun[]; dataAt: number } {
  let text = '';
  let at = position;
  const numbers: number[] = [];
  let wanted = 1;
  while (numbers.length < wanted) {
    const newline = text.indexOf('\n');
    if (newline === -1) {
      if (at - position >= size || text.length > TAR_BLOCK_BYTES) throw new TarError('the sparse map is malformed');
      text += readAt(at, TAR_BLOCK_BYTES).toString('latin1');
      at += TAR_BLOCK_BYTES;
      continue;
    }
    const value = whole(text.slice(0, newline));
    text = text.slice(newline + 1);
    if (numbers.push(value) === 1) {
      if (value > MAX_SPARSE_EXTENTS) throw tooMany();
      wanted = 1 + 2 * value;
    }
  }
  return { runs: pairs(numbers.slice(1)), dataAt: at };
}

/** Runs as extents of the archive, checked against the entry's size there. Empty runs, which mark the end, are left out. */
export function extentsOf(file: SparseFile, storedBytes: number): Extent[] {
  const extents: Extent[] = [];
  let from = file.dataAt;
  let end = 0;
  for (const run of file.runs) {
    if (run.at < end || run.at + run.length > file.realSize) throw new TarError('the sparse map does not fit the file');
    end = run.at + run.length;
    if (run.length > 0) extents.push({ at: run.at, length: run.length, from });
    from += run.length;
  }
  if (from - file.dataAt > storedBytes) throw new TarError('the sparse map is longer than its data');
  return extents;
}

function pairs(numbers: readonly number[]): SparseRun[] {
  if (numbers.length % 2 !== 0) throw new TarError('the sparse map is malformed');
  if (numbers.length / 2 > MAX_SPARSE_EXTENTS) throw tooMany();
  const runs: SparseRun[] = [];
  for (let index = 0; index < numbers.length; index += 2) {
    runs.push({ at: numbers[index] ?? 0, length: numbers[index + 1] ?? 0 });
  }
  return runs;
}

function whole(text: string): number {
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new TarError('the sparse map is malformed');
  return value;
}

function tooMany(): TarError {
  return new TarError(`the sparse map has more than ${MAX_SPARSE_EXTENTS} runs`);
}
