/** Owns the phrase of a failed step: an error says at which step of a longer operation it happened. */
import { TskataError } from '../../agent/protocol/errors.ts';

/** Runs one step; its error keeps the code and gets the step's name in front. */
export async function step<T>(name: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (caught) {
    const error = TskataError.from(caught);
    throw new TskataError(error.code, `${name}: ${error.message}`, caught);
  }
}

/** Settles with `work`, or after `timeoutMs` with `late`. The work itself goes on. */
export async function within<T, U>(timeoutMs: number, work: Promise<T>, late: U): Promise<T | U> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<U>((resolve) => {
    timer = setTimeout(() => resolve(late), timeoutMs);
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
