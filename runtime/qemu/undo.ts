/** What to take back when something fails or ends. Knows nothing of what it takes back. */

/** Steps registered at each acquisition, run in reverse order, once. */
export class Undo {
  readonly #steps: (() => Promise<unknown>)[] = [];

  add(step: () => Promise<unknown>): void {
    this.#steps.push(step);
  }

  /** A step that fails does not keep the others from running: each frees something of its own. */
  async run(): Promise<void> {
    for (const step of this.#steps.splice(0).toReversed()) await step().catch(() => undefined);
  }
}
