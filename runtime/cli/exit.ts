/** Exit codes of the command line, docker's meanings, and the one place that prints an error. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { programFailure } from '../sandbox/start-failure.ts';

/** tskata itself failed: nothing ran. */
export const EXIT_RUNTIME = 125;
/** 128 + SIGPIPE. */
export const EXIT_CLOSED_PIPE = 141;

/** A verb's way to end with a code of its own (a container's exit code) without a message. */
export class ExitWith extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`exit ${status}`);
    this.status = status;
  }
}

/** The status to end with when the program of a container did not start. */
export function startFailureStatus(error: TskataError): number {
  return programFailure(error.message) ?? EXIT_RUNTIME;
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
