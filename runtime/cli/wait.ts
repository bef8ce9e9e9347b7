/** Waiting with an end. */

/** Settles after `delayMs`; alone it does not keep the process alive. */
export function deadline(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, delayMs).unref();
  });
}
