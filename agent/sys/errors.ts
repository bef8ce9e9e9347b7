/**
 * Owns the one error class of failed kernel calls. Knows nothing of RPC codes: whoever serves calls translates.
 */
import { errnoName } from './errno.ts';

/** A kernel call failed. The message reads "operation subject: ERRNO", like "mount overlay on /rootfs: EBUSY". */
export class SysError extends Error {
  /** What was tried: "openat2", "mount overlay on". */
  readonly operation: string;
  /** What it was tried on: a path, a name, an address; may be empty. */
  readonly subject: string;
  /** The positive error number. */
  readonly errno: number;
  /** Its name: "ENOENT". */
  readonly code: string;

  constructor(operation: string, subject: string, errno: number) {
    const code = errnoName(errno);
    super(subject === '' ? `${operation}: ${code}` : `${operation} ${subject}: ${code}`);
    this.name = 'SysError';
    this.operation = operation;
    this.subject = subject;
    this.errno = errno;
    this.code = code;
  }
}

/** Passes a result on, or throws what a negative one (-errno) means. */
export function check(result: number, operation: string, subject: string | number = ''): number {
  if (result < 0) throw new SysError(operation, String(subject), -result);
  return result;
}

/** Whether `error` is a `SysError` with one of these error numbers. */
export function isErrno(error: unknown, ...errnos: readonly number[]): error is SysError {
  return error instanceof SysError && errnos.includes(error.errno);
}
