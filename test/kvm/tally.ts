/** Counts what the tests inside the KVM host tell, and says it for people as it comes. Knows no process and no clock. */
import type { ReportEvent } from './report.ts';

/** The counts, and whether the story is whole. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

const MARKS = { passed: '✓', failed: '✗', skipped: '↷' } as const;

export class Tally {
  #counts = { passed: 0, failed: 0, skipped: 0 };
  #open: string | undefined;
  #tested = false;
  readonly #say: (line: string) => void;

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  /** The file whose tests run now. */
  get openFile(): string | undefined {
    return this.#open;
  }

  /** Every file has been run. */
  get tested(): boolean {
    return this.#tested;
  }

  get counts(): Counts {
    return this.#counts;
  }

  take(event: ReportEvent): void {
    switch (event.event) {
      case 'booted':
        return;
      case 'file':
        this.#open = event.file;
        this.#say(event.file);
        return;
      case 'test':
        this.#counts[event.state] += 1;
        this.#say(`  ${MARKS[event.state]} ${event.name} ${seconds(event.elapsedMs)}`);
        if (event.words !== '') this.#say(indent(event.words));
        return;
      case 'problem':
        this.fail(event.words);
        return;
      case 'file-end':
        this.#open = undefined;
        for (const problem of event.problems) this.fail(problem);
        return;
      case 'tested':
        this.#tested = true;
        return;
      case 'end':
        for (const problem of event.problems) this.fail(problem);
        return;
    }
  }

  /** A failure that is no test's: of a file, of the runner, of the host. */
  fail(words: string): void {
    this.#counts.failed += 1;
    this.#say(`  ${MARKS.failed} ${indent(words).trimStart()}`);
  }
}

function seconds(elapsedMs: number): string {
  return elapsedMs < 100 ? '' : `(${(elapsedMs / 1000).toFixed(1)} s)`;
}

function indent(words: string): string {
  return words
    .split('\n')
    .map((line) => `      ${line}`)
    .join('\n');
}
