/**
 * Turns the end of a machine into the error of whoever waited for it: phase, cause, QEMU's words, the console's last
 * lines. It decides nothing; `ending.ts` has.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { VmEnd } from '../vm/vm.ts';

/** Lines of each kind that an error shows. */
const SHOWN_LINES = 20;

/** The machine ended while somebody waited for something else. */
export class MachineEnded extends TskataError {
  /** The whole ending, for callers that show more than the message. */
  readonly end: VmEnd;

  constructor(operation: string, end: VmEnd) {
    super(codeOf(end), `${operation}: ${describe(end)}`);
    this.end = end;
  }
}

/** A sentence, and the last lines below it. */
function describe(end: VmEnd): string {
  const stderr = end.stderrTail.slice(-SHOWN_LINES);
  const console = end.consoleTail.slice(-SHOWN_LINES);
  return [
    end.message,
    ...(stderr.length > 0 ? ['last lines of QEMU:', ...stderr.map(indent)] : []),
    ...(console.length > 0 ? ["last lines of the guest's console (not trusted):", ...console.map(indent)] : []),
  ].join('\n');
}

function indent(line: string): string {
  return `  ${line}`;
}

/** Memory is the one thing whose lack the caller can cure by asking for less. */
function codeOf(end: VmEnd): Code {
  if (end.stderrTail.some((line) => /cannot allocate memory|cannot set up guest memory/i.test(line))) {
    return Code.ResourceExhausted;
  }
  return end.cause === 'asked' ? Code.Canceled : Code.Unavailable;
}
