/**
 * Signals before there is a process to hand them to: a `run` that still pulls or boots is given up, so that its clean-up
 * runs; a second signal leaves that to the next command. Once the process exists its caller takes them (`attach.ts`).
 */
import { constants } from 'node:os';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
const SIGNAL_BASE = 128;

/** The verb was told to end. */
export class Interrupted extends Error {
  /** 128 + n. */
  readonly status: number;

  constructor(signal: (typeof SIGNALS)[number]) {
    super(`ended by ${signal}`);
    this.status = SIGNAL_BASE + constants.signals[signal];
  }
}

/** From its making until `release`, a signal rejects what waits in `guard`. */
export class Interruption {
  readonly #interrupted = Promise.withResolvers<never>();
  #told = false;
  readonly #listener = (signal: NodeJS.Signals): void => {
    const interrupted = new Interrupted(signal as (typeof SIGNALS)[number]);
    if (this.#told) {
      process.stderr.write('tskata: left without cleaning up; the next command does it\n');
      process.exit(interrupted.status);
    }
    this.#told = true;
    this.#interrupted.reject(interrupted);
  };

  constructor() {
    // It is no failure when nobody waits at that moment: the next `guard` tells it.
    this.#interrupted.promise.catch(() => undefined);
    for (const name of SIGNALS) process.on(name, this.#listener);
  }

  /** The result of `work`, or Interrupted. */
  async guard<T>(work: Promise<T>): Promise<T> {
    return await Promise.race([work, this.#interrupted.promise]);
  }

  /** Signals have their usual meaning, or another listener, from now on. Idempotent. */
  release(): void {
    for (const name of SIGNALS) process.off(name, this.#listener);
  }
}
