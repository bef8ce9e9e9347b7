/**
 * Owns: telling a waiting person how far a long build is: one line rewritten on a terminal, a plain line now and then elsewhere.
 * Refuses to know: what is being built.
 */

export type ProgressSink = { readonly isTTY?: boolean; write(text: string): unknown };

/** Between two lines when the output is no terminal. */
const PLAIN_INTERVAL_MS = 30_000;
/** Between two updates of the line on a terminal. */
const TERMINAL_INTERVAL_MS = 200;
const BAR_CELLS = 30;
/** The estimate may be low: never say that all is done before it is. */
const MAX_PERCENT = 99;

export class Progress {
  readonly #sink: ProgressSink;
  readonly #now: () => number;
  readonly #startedAt: number;
  #lastShown: number;
  #lineOpen = false;

  constructor(sink: ProgressSink, now: () => number = () => performance.now()) {
    this.#sink = sink;
    this.#now = now;
    this.#startedAt = now();
    this.#lastShown = Number.NEGATIVE_INFINITY;
  }

  /** Starts a step that cannot be measured. */
  step(text: string): void {
    this.#closeLine();
    this.#sink.write(`guest kernel: ${text}\n`);
    this.#lastShown = this.#now();
  }

  /** Reports a measured step; most calls show nothing. */
  update(text: string, done: number, expected: number): void {
    const terminal = this.#sink.isTTY === true;
    const now = this.#now();
    if (now - this.#lastShown < (terminal ? TERMINAL_INTERVAL_MS : PLAIN_INTERVAL_MS)) return;
    this.#lastShown = now;
    const percentDone = Math.min(Math.floor((100 * done) / Math.max(expected, 1)), MAX_PERCENT);
    const percent = `${percentDone}`.padStart(3);
    const seconds = `${Math.round((now - this.#startedAt) / 1000)} s`;
    if (terminal) {
      const full = Math.round((percentDone / 100) * BAR_CELLS);
      this.#sink.write(
        `\r\x1b[Kguest kernel: ${text} [${'#'.repeat(full)}${'.'.repeat(BAR_CELLS - full)}] ${percent} % ${seconds}`,
      );
      this.#lineOpen = true;
    } else {
      this.#sink.write(`guest kernel: ${text} ${percent} % ${seconds}\n`);
    }
  }

  /** Ends with a last line. */
  finish(text: string): void {
    this.step(`${text} (${Math.round((this.#now() - this.#startedAt) / 1000)} s)`);
  }

  #closeLine(): void {
    if (this.#lineOpen) this.#sink.write('\r\x1b[K');
    this.#lineOpen = false;
  }
}
