/**
 * Reads a container's log file entry by entry, also while it grows and is rotated: it holds the file open, so that a
 * rename takes nothing away. Refuses to know who prints.
 */
import { type FileHandle, open } from 'node:fs/promises';

/** One line of the log file. */
export interface LogEntry {
  readonly time: string;
  readonly stream: 'stdout' | 'stderr';
  readonly log: string;
}

const CHUNK_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

/** A log and the one before it. */
export class LogReader {
  readonly #path: string;
  #file: FileHandle | undefined;
  /** Of a last line that is still being written. */
  #rest: Buffer = Buffer.alloc(0);

  constructor(path: string) {
    this.#path = path;
  }

  /** Every entry that is there and was not read yet, oldest first; the rotated file's too. Nothing without a file. */
  async *read(): AsyncGenerator<LogEntry> {
    if (this.#file === undefined) {
      this.#file = await openIfThere(this.#path);
      yield* this.#readPrevious(...(this.#file === undefined ? [] : [this.#file]));
    }
    for (;;) {
      if (this.#file !== undefined) yield* this.#entries(this.#file);
      // Looked at after the end was read: whatever was written before the rotation has been read.
      const next = await this.#successor();
      if (next === undefined) return;
      const file = this.#file;
      if (file !== undefined) {
        yield* this.#entries(file);
        this.#rest = Buffer.alloc(0);
        // It was rotated more than once since we looked.
        yield* this.#readPrevious(file, next);
        await file.close();
      }
      this.#file = next;
    }
  }

  async close(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
  }

  /** The rotated file, unless it is one of those that are known. */
  async *#readPrevious(...known: readonly FileHandle[]): AsyncGenerator<LogEntry> {
    const previous = await openIfThere(`${this.#path}.1`);
    if (previous === undefined) return;
    try {
      const same = await Promise.all(known.map((file) => isSame(previous, file)));
      if (!same.includes(true)) yield* this.#entries(previous);
    } finally {
      await previous.close();
      this.#rest = Buffer.alloc(0);
    }
  }

  /** The file that took the place of the one that is open. */
  async #successor(): Promise<FileHandle | undefined> {
    const now = await openIfThere(this.#path);
    if (now === undefined) return undefined;
    if (this.#file === undefined || !(await isSame(now, this.#file))) return now;
    await now.close();
    return undefined;
  }

  async *#entries(file: FileHandle): AsyncGenerator<LogEntry> {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    for (;;) {
      const { bytesRead } = await file.read(chunk, 0, CHUNK_BYTES, null);
      if (bytesRead === 0) return;
      let bytes = Buffer.concat([this.#rest, chunk.subarray(0, bytesRead)]);
      for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE)) {
        const entry = parseEntry(bytes.subarray(0, end).toString());
        bytes = bytes.subarray(end + 1);
        if (entry !== undefined) yield entry;
      }
      this.#rest = bytes;
    }
  }
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function isSame(left: FileHandle, right: FileHandle): Promise<boolean> {
  const [a, b] = [await left.stat(), await right.stat()];
  return a.ino === b.ino && a.dev === b.dev;
}

/** A line that a crash cut short, or that is no entry, is skipped. */
function parseEntry(line: string): LogEntry | undefined {
  try {
    const entry = JSON.parse(line) as Partial<LogEntry> | null;
    return entry !== null && isEntry(entry) ? entry : undefined;
  } catch {
    return undefined;
  }
}

function isEntry(entry: Partial<LogEntry>): entry is LogEntry {
  const { time, stream, log } = entry;
  return typeof time === 'string' && typeof log === 'string' && (stream === 'stdout' || stream === 'stderr');
}
