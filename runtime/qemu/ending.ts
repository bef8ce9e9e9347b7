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

const PANIC_WORDS = /Kernel panic - not syncing: (.{1,200})/;
/** What the kernel says of the end of its process 1, which is the agent. */
const INIT_DIED = 'Attempted to kill init!';
const SIGNAL_BASE = 128;
const KILL = 9;

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
    const consoleTail = upToPanic(this.#console.tail());
    this.#settle({
      ...withPanic(this.#cause ?? causeOfStatus(status, this.#stderr), consoleTail),
      consoleTail,
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

/** The kernel's own words for a panic, which also tell one on machines that have no notifier for it. */
function withPanic(cause: Cause, consoleTail: readonly string[]): Cause {
  if (cause.cause !== 'panicked' && cause.cause !== 'powered-off') return cause;
  const words = consoleTail.map((line) => PANIC_WORDS.exec(line)?.[1]).find((found) => found !== undefined);
  if (words === undefined) return cause;
  const who = words.startsWith(INIT_DIED) ? 'the agent (PID 1 of the guest) died' : 'the guest kernel panicked';
  return { cause: 'panicked', message: `${who}: ${words}` };
}

/** What follows a panic is the kernel's own call trace: it would push out what led to it. */
function upToPanic(consoleTail: string[]): string[] {
  const at = consoleTail.findIndex((line) => PANIC_WORDS.test(line));
  return at === -1 ? consoleTail : consoleTail.slice(0, at + 1);
}

function causeOfStatus(status: number, stderr: LineTail): Cause {
  const said = stderr.tail().at(-1);
  if (status === -1) return { cause: 'helper-died', message: 'the helper that held QEMU died' };
  if (status > SIGNAL_BASE) {
    const signal = status - SIGNAL_BASE;
    const hint = signal === KILL ? '; if nobody sent it, the host ran out of memory (see its kernel log)' : '';
    return { cause: 'killed', message: `QEMU was ended by signal ${signal}${hint}` };
  }
  const words = said === undefined ? '' : `: ${said}`;
  return { cause: 'failed', message: `QEMU exited with status ${status}${words}` };
}
