/**
 * Owns the data area of an EROFS image: the bytes of files in whole blocks, in the order of their sources, with large
 * holes left out. It knows no names, no inodes and no directories.
 */
import type { FileData } from '../layer/tree.ts';
import { BLOCK_BYTES, CHUNK_BYTES, NULL_BLOCK } from './format.ts';
import type { ImageOutput } from './output.ts';

/** Work done between two turns of the event loop. */
const BYTES_PER_TURN = 32 * 1024 * 1024;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

/** Random access to the bytes that extents point at. */
export interface ByteSource {
  /** Fills the whole buffer from `position`. Throws when the source is shorter. */
  read(into: Buffer, position: number): void;
}

/** Where a file's bytes went: blocks in a row from the first, or one block number per chunk, NULL_BLOCK for a hole. */
export type PlacedData =
  | { readonly layout: 'plain'; readonly firstBlock: number }
  | { readonly layout: 'chunks'; readonly blocks: Uint32Array };

export class DataArea {
  readonly #output: ImageOutput;
  readonly #sources: (source: number) => ByteSource;
  readonly #chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  #sinceTurn = 0;

  constructor(output: ImageOutput, sources: (source: number) => ByteSource) {
    this.#output = output;
    this.#sources = sources;
  }

  async place(data: FileData): Promise<PlacedData> {
    const blocks = new Uint32Array(Math.ceil(data.size / CHUNK_BYTES));
    const cursor = { index: 0 };
    const firstBlock = this.#output.position / BLOCK_BYTES;
    let holes = false;
    for (let number = 0; number < blocks.length; number++) {
      const at = number * CHUNK_BYTES;
      const chunk = this.#chunk.subarray(0, Math.min(CHUNK_BYTES, data.size - at));
      const touched = readWindow(data, at, chunk, this.#sources(data.source), cursor);
      if (!touched || chunk.equals(ZEROS.subarray(0, chunk.length))) {
        blocks[number] = NULL_BLOCK;
        holes = true;
      } else {
        blocks[number] = this.#output.position / BLOCK_BYTES;
        await this.#output.append(chunk);
        await this.#output.align(BLOCK_BYTES);
      }
      await this.#rest(chunk.length);
    }
    return holes ? { layout: 'chunks', blocks } : { layout: 'plain', firstBlock };
  }

  /** The whole content of a small file. */
  read(data: FileData): Buffer {
    const bytes = Buffer.allocUnsafe(data.size);
    readWindow(data, 0, bytes, this.#sources(data.source), { index: 0 });
    return bytes;
  }

  async #rest(bytes: number): Promise<void> {
    this.#sinceTurn += bytes;
    if (this.#sinceTurn <= BYTES_PER_TURN) return;
    this.#sinceTurn = 0;
    await new Promise(setImmediate);
  }
}

/** Reads a window of a file, holes as zeros; false when all of it is a hole. `cursor` only moves forward. */
function readWindow(data: FileData, at: number, into: Buffer, source: ByteSource, cursor: { index: number }): boolean {
  const end = at + into.length;
  let filledTo = at;
  let extent = data.extents[cursor.index];
  while (extent !== undefined && extent.at + extent.length <= at) extent = data.extents[++cursor.index];
  for (let index = cursor.index; extent !== undefined && extent.at < end; extent = data.extents[++index]) {
    const from = Math.max(extent.at, at);
    const to = Math.min(extent.at + extent.length, end);
    if (from > filledTo) into.fill(0, filledTo - at, from - at);
    source.read(into.subarray(from - at, to - at), extent.from + (from - extent.at));
    filledTo = to;
  }
  if (filledTo < end) into.fill(0, filledTo - at);
  return filledTo > at;
}
