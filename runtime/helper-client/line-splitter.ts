/** Lines of a stream whose writer may be hostile: bounded in length, control characters replaced. */

/** What is kept of one line; the rest of it is dropped. */
const MAX_LINE_BYTES = 1000;
const NEWLINE = 0x0a;

export class LineSplitter {
  readonly #onLine: (line: string) => void;
  #head = Buffer.alloc(0);

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  push(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      this.#keep(chunk.subarray(start, end));
      this.#emit();
      start = end + 1;
    }
    this.#keep(chunk.subarray(start));
  }

  /** The last line, if it had no end. */
  finish(): void {
    if (this.#head.length > 0) this.#emit();
  }

  #keep(bytes: Buffer): void {
    const room = MAX_LINE_BYTES - this.#head.length;
    // Copied, so that a few bytes do not hold a whole read buffer.
    if (room > 0 && bytes.length > 0) this.#head = Buffer.concat([this.#head, bytes.subarray(0, room)]);
  }

  #emit(): void {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
    const line = this.#head.toString('utf8').replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
    this.#head = Buffer.alloc(0);
    this.#onLine(line);
  }
}
