/**
 * Owns a container's log file: JSON lines {time, stream, log}, rotated at a size. Refuses to know who reads it.
 *
 * A line of output is one JSON line; a line longer than MAX_LINE_BYTES is several (only the last ends in "\n").
 * Bytes that are no UTF-8 become U+FFFD; a character is never split between two JSON lines.
 */
import { closeSync, constants, fstatSync, openSync, renameSync } from 'node:fs';
import { writeAll } from './file-sink.ts';
import type { OutputSink } from './sink.ts';

/** Output is cut into JSON lines of at most this many bytes. */
const MAX_LINE_BYTES = 16 * 1024;
const NEWLINE = 0x0a;

/** One log file with a sink for each output stream. */
export class LogFile {
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #now: () => Date;
  readonly #lines = new Map<string, LineSplitter>();
  #fd: number;
  #bytes: number;
  #tail: Promise<void> = Promise.resolve();
  #closed = false;

  /** Opens for appending, mode 0600. `maxBytes` is the size at which the file becomes `<path>.1`. */
  constructor(path: string, maxBytes: number, now: () => Date = () => new Date()) {
    this.#path = path;
    this.#maxBytes = maxBytes;
    this.#now = now;
    this.#fd = openAppend(path);
    this.#bytes = fstatSync(this.#fd).size;
  }

  /** A sink that marks its lines with `stream`. Closing it writes an unfinished line. */
  sink(stream: 'stdout' | 'stderr'): OutputSink {
    const splitter = new LineSplitter();
    this.#lines.set(stream, splitter);
    const flush = (): void => {
      const rest = splitter.rest();
      if (rest.length > 0) void this.#append(stream, [rest]);
    };
    return { write: (bytes) => this.#append(stream, splitter.push(bytes)), close: flush };
  }

  /** Resolves when everything handed to the sinks before is in the file. */
  flushed(): Promise<void> {
    return this.#tail;
  }

  /** Closes after the writes that are under way. Idempotent. */
  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#tail = this.#tail.then(() => closeSync(this.#fd));
    }
    return this.#tail;
  }

  #append(stream: string, lines: readonly Uint8Array[]): Promise<void> {
    if (lines.length === 0 || this.#closed) return this.#tail;
    const time = this.#now().toISOString();
    const records = lines.map((line) => Buffer.from(`${JSON.stringify({ time, stream, log: decode(line) })}\n`));
    this.#tail = this.#tail.then(() => this.#write(records));
    return this.#tail;
  }

  /** One write for what fits into the file, then the next file: only a single record can be above the size. */
  async #write(records: readonly Buffer[]): Promise<void> {
    let batch: Buffer[] = [];
    const flush = async (): Promise<void> => {
      await writeAll(this.#fd, Buffer.concat(batch));
      batch = [];
    };
    for (const record of records) {
      if (this.#bytes > 0 && this.#bytes + record.length > this.#maxBytes) {
        await flush();
        this.#rotate();
      }
      batch.push(record);
      this.#bytes += record.length;
    }
    await flush();
  }

  #rotate(): void {
    try {
      renameSync(this.#path, `${this.#path}.1`);
      const next = openAppend(this.#path);
      closeSync(this.#fd);
      this.#fd = next;
      this.#bytes = 0;
    } catch {
      // The directory is gone or full: going on in the old file loses nothing.
    }
  }
}

/** Cuts a byte stream into lines, and long lines at a character boundary. */
export class LineSplitter {
  #pending: Uint8Array = new Uint8Array(0);

  /** The lines (or parts of lines) that are complete now, each with its "\n". */
  push(bytes: Uint8Array): Uint8Array[] {
    const all = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    const lines: Uint8Array[] = [];
    let start = 0;
    while (start < all.length) {
      const newline = all.indexOf(NEWLINE, start);
      const end = newline < 0 ? all.length : newline + 1;
      if (end - start > MAX_LINE_BYTES) {
        const cut = characterBoundary(all, start, start + MAX_LINE_BYTES);
        lines.push(all.slice(start, cut));
        start = cut;
      } else if (newline < 0) {
        break;
      } else {
        lines.push(all.slice(start, end));
        start = end;
      }
    }
    this.#pending = all.slice(start);
    return lines;
  }

  /** What is left without a "\n". */
  rest(): Uint8Array {
    const rest = this.#pending;
    this.#pending = new Uint8Array(0);
    return rest;
  }
}

/** The last place at or before `end` that does not lie inside a UTF-8 character. */
function characterBoundary(bytes: Uint8Array, start: number, end: number): number {
  // A character has at most three continuation bytes; more of them in a row is not UTF-8 and may be cut anywhere.
  for (let cut = end; cut > end - 4 && cut > start; cut--) {
    if (((bytes[cut] ?? 0) & 0xc0) !== 0x80) return cut;
  }
  return end;
}

function decode(line: Uint8Array): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(line);
}

function openAppend(path: string): number {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;
  return openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
}
