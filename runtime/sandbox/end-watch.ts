/** Owns how work on a machine ends when the machine does, and the words for its end. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { within } from '../host/step.ts';
import type { Vm, VmEnd } from '../vm/vm.ts';

/** Console and QEMU lines that go into an error. */
const SHOWN_LINES = 8;
const SHOWN_LINE_CHARACTERS = 240;
const LAST_WORDS_MS = 2_000;

/**
 * One listener for all the work of a machine's life: a race of each call with the promise of the end would keep
 * something of every call until then.
 */
export class EndWatch {
  readonly #pending = new Set<(error: TskataError) => void>();
  #end: TskataError | undefined;

  constructor(vm: Pick<Vm, 'ended'>) {
    void vm.ended.then((end) => {
      this.#end = new TskataError(Code.Unavailable, describeEnd(end));
      for (const reject of this.#pending) reject(this.#end);
    });
  }

  /** The result of `work`, or an error with the machine's last words when it ends first. */
  async untilEnd<T>(work: Promise<T>): Promise<T> {
    const ended = Promise.withResolvers<never>();
    // Only one of the two is listened to at the end.
    ended.promise.catch(() => undefined);
    if (this.#end !== undefined) ended.reject(this.#end);
    this.#pending.add(ended.reject);
    try {
      return await Promise.race([work, ended.promise]);
    } catch (error) {
      // A connection breaks a moment before its machine is known to have ended, which is what explains it.
      const { code } = TskataError.from(error);
      if (code === Code.Unavailable || code === Code.DataLoss) await within(LAST_WORDS_MS, ended.promise, undefined);
      throw error;
    } finally {
      this.#pending.delete(ended.reject);
    }
  }
}

/** One sentence on why a machine ended, with its last lines. They are the guest's words: bounded and marked. */
export function describeEnd(end: VmEnd): string {
  const parts = [`the virtual machine ended (${end.cause}): ${end.message}`];
  if (end.cause === 'asked') return parts.join('');
  const lines = (title: string, tail: readonly string[]): void => {
    const shown = tail.slice(-SHOWN_LINES).map((line) => line.slice(0, SHOWN_LINE_CHARACTERS));
    if (shown.length > 0) parts.push(`${title}: ${shown.join(' | ')}`);
  };
  lines('last lines of QEMU', end.stderrTail);
  lines('last lines of the guest console (untrusted)', end.consoleTail);
  return parts.join('; ');
}
