/** Tells once that something has changed, when it has been quiet for a moment: changes come in bursts. */
import type { Loop } from '../../agent/sys/sys.ts';

/** One CNI plugin makes its changes within less. */
const QUIET_MS = 100;
/** Changes without an end are told all the same. */
const MOST_MS = 1_000;

export class QuietSignal {
  readonly #loop: Loop;
  #waiting: (() => void)[] = [];
  #changedMs: number | undefined;
  #cancel: () => void = () => {};

  constructor(loop: Loop) {
    this.#loop = loop;
  }

  /** Something has changed. */
  change(): void {
    this.#changedMs ??= this.#loop.now();
    this.#arm();
  }

  /** What has changed so far is known. */
  reset(): void {
    this.#changedMs = undefined;
    this.#cancel();
  }

  /** Resolves after the next change since `reset`, or since one that nobody has been told of. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#arm();
    });
  }

  #arm(): void {
    if (this.#changedMs === undefined || this.#waiting.length === 0) return;
    this.#cancel();
    const left = Math.max(0, this.#changedMs + MOST_MS - this.#loop.now());
    this.#cancel = this.#loop.timer(Math.min(QUIET_MS, left), () => {
      this.#changedMs = undefined;
      for (const resolve of this.#waiting.splice(0)) resolve();
    });
  }
}
