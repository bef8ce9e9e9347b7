/**
 * The one place that decides how a machine ended and why. Many witnesses report (the monitor, the exit status, the
 * helper, ourselves); the first cause that explains the end is kept. It ends nothing itself.
 */
import type { VmEnd } from '../vm/vm.ts';
import type { LineTail } from './console.ts';
import { own, type QmpObject } from './qmp/decoder.ts';

/** A cause and its sentence. */
export interface Cause {
  readonly cause: VmEnd['cause'];
  readonly message: string;
}

/** Words of the kernel that tell a panic on machines without a panic notifier. */
const PANIC_WORDS = 'Kernel panic - not syncing';
const SIGNAL_BASE = 128;

/** Collects what is known of an ending and settles once. */
export class Ending {
  /** Settles with the ending. Never rejects. */
  readonly ended: Promise<VmEnd>;
  readonly #console: LineTail;
  readonly #stderr: LineTail;
  #settle: (end: VmEnd) => void = () => {};
  #cause: Cause | undefined;

  constructor(consoleTail: LineTail, stderrTail: LineTail) {
    this.#console = consoleTail;
    this.#stderr = stderrTail;
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  /** A cause that was seen before the end itself; only the first counts. */
  note(cause: VmEnd['cause'], message: string): void {
    this.#cause ??= { cause, message };
  }

  /** QEMU's process has ended: settles. @param status exit code, or 128 + signal; -1 when nobody could see it. */
  exited(status: number): void {
    const cause = this.#cause ?? causeOfStatus(status, this.#stderr);
    const panicked = cause.cause === 'powered-off' && this.#console.mentions(PANIC_WORDS);
    this.#settle({
      ...(panicked ? { cause: 'panicked', message: 'the guest kernel panicked' } : cause),
      consoleTail: this.#console.tail(),
      stderrTail: this.#stderr.tail(),
    });
  }
}

/** What an event of the monitor says of the ending, if it says anything. */
export function causeOfEvent(name: string, data: QmpObject): Cause | undefined {
  if (name === 'GUEST_PANICKED') return { cause: 'panicked', message: 'the guest kernel panicked' };
  if (name !== 'SHUTDOWN') return undefined;
  switch (own(data, 'reason')) {
    case 'guest-shutdown':
      return { cause: 'powered-off', message: 'the guest powered off' };
    case 'guest-reset':
      return { cause: 'powered-off', message: 'the guest reset itself' };
    case 'guest-panic':
      return { cause: 'panicked', message: 'the guest kernel panicked' };
    case 'host-signal':
      return { cause: 'killed', message: 'QEMU was ended by a signal' };
    default:
      return undefined;
  }
}

function causeOfStatus(status: number, stderr: LineTail): Cause {
  const said = stderr.tail().at(-1);
  if (status === -1) return { cause: 'helper-died', message: 'the helper that held QEMU died' };
  if (status > SIGNAL_BASE) {
    const signal = status - SIGNAL_BASE;
    return { cause: 'killed', message: `QEMU was ended by signal ${signal}` };
  }
  const words = said === undefined ? '' : `: ${said}`;
  return { cause: 'failed', message: `QEMU exited with status ${status}${words}` };
}
