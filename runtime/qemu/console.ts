/**
 * What the guest's console and QEMU's standard error said: the last lines in memory, the first megabyte in a file. The
 * lines are written by a stranger, so length, number and rate are bounded and control characters replaced. It knows
 * neither the guest nor QEMU.
 */
import { createWriteStream, type WriteStream } from 'node:fs';
import type { Readable } from 'node:stream';

/** Lines kept in memory. */
export const MAX_TAIL_LINES = 100;
/** Longest line kept; the rest of a longer one becomes further lines. */
export const MAX_LINE_CHARACTERS = 512;
/** Most that is written to the log file. */
const MAX_LOG_BYTES = 1024 * 1024;
/** Bytes read in one period; whoever writes faster is read later, and QEMU drops what finds no room. */
const MAX_BYTES_PER_PERIOD = 1024 * 1024;
const PERIOD_MS = 1000;
/** ESC [ parameters command: what moves cursors and sets colours. Built, because a literal control character is no text. */
const TERMINAL_SEQUENCE = new RegExp(`${String.fromCharCode(27)}\\[[0-9;?]*[ -/]*[@-~]`, 'gu');
const TRUNCATED = '[more was written; the log ends here]\n';

/** Makes a stranger's line safe for a terminal and a log: no control or formatting characters, bounded. */
export function sanitizeLine(line: string): string {
  // A terminal's own sequences first, whole, so that a colour does not leave "[31m" behind.
  const plain = line.replace(TERMINAL_SEQUENCE, '');
  return plain
    .replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu, (c) => (c === '\t' ? ' ' : '\uFFFD'))
    .slice(0, MAX_LINE_CHARACTERS);
}

/** Collects lines of one source. */
export class LineTail {
  readonly #lines: string[] = [];
  readonly #decoder = new TextDecoder('utf-8');
  readonly #log: LogFile | undefined;
  #partial = '';

  /** @param logPath file that gets the sanitised lines as well. */
  constructor(logPath?: string) {
    this.#log = logPath === undefined ? undefined : new LogFile(logPath);
  }

  push(bytes: Uint8Array): void {
    this.#partial += this.#decoder.decode(bytes, { stream: true });
    const pieces = this.#partial.split('\n');
    this.#partial = pieces.pop() ?? '';
    for (const piece of pieces) this.#addAll(piece);
    if (this.#partial.length > MAX_LINE_CHARACTERS) {
      this.#addAll(this.#partial);
      this.#partial = '';
    }
  }

  /** The last lines, oldest first, with the unfinished one. */
  tail(): string[] {
    const rest = sanitizeLine(this.#partial);
    return rest.trim() === '' ? [...this.#lines] : [...this.#lines, rest];
  }

  /** Writes out and closes the log file. */
  async close(): Promise<void> {
    await this.#log?.close();
  }

  #addAll(text: string): void {
    for (let start = 0; start < Math.max(text.length, 1); start += MAX_LINE_CHARACTERS) {
      this.#add(sanitizeLine(text.slice(start, start + MAX_LINE_CHARACTERS).replace(/\r$/, '')));
    }
  }

  #add(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > MAX_TAIL_LINES) this.#lines.shift();
    this.#log?.write(`${line}\n`);
  }
}

/** The file, up to its bound. A log that cannot be written must not end a machine: its errors are dropped. */
class LogFile {
  readonly #stream: WriteStream;
  #written = 0;

  constructor(file: string) {
    this.#stream = createWriteStream(file, { flags: 'w', mode: 0o600 });
    this.#stream.on('error', () => {});
  }

  write(line: string): void {
    if (this.#written > MAX_LOG_BYTES) return;
    const full = this.#written + line.length > MAX_LOG_BYTES;
    this.#written += line.length;
    this.#stream.write(full ? TRUNCATED : line);
    if (full) this.#written = MAX_LOG_BYTES + 1;
  }

  async close(): Promise<void> {
    if (this.#stream.destroyed) return;
    await new Promise<void>((resolve) => {
      this.#stream.once('close', resolve);
      this.#stream.end();
    });
  }
}

/** Feeds a stream into a tail, no faster than the bound. The result stops reading. */
export function follow(stream: Readable, tail: LineTail): () => void {
  let inPeriod = 0;
  const onData = (chunk: Uint8Array) => {
    inPeriod += chunk.length;
    tail.push(chunk);
    if (inPeriod >= MAX_BYTES_PER_PERIOD) stream.pause();
  };
  const timer = setInterval(() => {
    inPeriod = 0;
    if (stream.isPaused()) stream.resume();
  }, PERIOD_MS);
  timer.unref();
  const stop = () => {
    clearInterval(timer);
    stream.off('data', onData);
  };
  stream.on('data', onData);
  stream.once('close', stop);
  stream.on('error', stop);
  return stop;
}
