/** Exit codes of the command line, docker's meanings, and the one place that prints an error. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';

/** tskata itself failed: nothing ran. */
export const EXIT_RUNTIME = 125;
/** 128 + SIGPIPE. */
export const EXIT_CLOSED_PIPE = 141;
/** The program was found but cannot be executed. */
const EXIT_NOT_EXECUTABLE = 126;
/** The program was not found. */
const EXIT_NOT_FOUND = 127;

/** A verb's way to end with a code of its own (a container's exit code) without a message. */
export class ExitWith extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`exit ${status}`);
    this.status = status;
  }
}

/** Start errors speak runc's words, which docker and CRI match on as well. */
export function startFailureStatus(error: TskataError): number {
  // Only of the program itself: a volume that is not there is no missing program.
  if (/\bexec: ".*": (executable file not found|no such file or directory)/s.test(error.message)) return EXIT_NOT_FOUND;
  if (/\bexec: ".*": (permission denied|not a directory|is a directory|exec format error)/s.test(error.message))
    return EXIT_NOT_EXECUTABLE;
  return EXIT_RUNTIME;
}

/** Prints what went wrong for people; returns the status to exit with. */
export function report(caught: unknown, failureStatus: number, debug: boolean): number {
  if (caught instanceof ExitWith) return caught.status;
  const error = TskataError.from(caught);
  process.stderr.write(`tskata: ${error.message}\n`);
  if (debug && error.stack) process.stderr.write(`${error.stack}\n`);
  if (error.code === Code.Internal && !debug)
    process.stderr.write('tskata: this is a defect; run again with --debug for details\n');
  return failureStatus;
}
