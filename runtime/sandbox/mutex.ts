/** Owns mutual exclusion of asynchronous steps, in the order of arrival. */
export class Mutex {
  #tail: Promise<void> = Promise.resolve();

  /** Runs `work` alone; later callers wait, whatever becomes of it. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(work);
    this.#tail = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }
}
