/**
 * The one error of the project that crosses a connection: a canonical RPC code and a sentence.
 *
 * Everything that is caught becomes one of these through `TskataError.from`. It knows no transport.
 */

import { MAX_ERROR_CHARACTERS } from './limits.ts';

/** The canonical RPC codes, as ttrpc and gRPC number them. */
export const Code = {
  Ok: 0,
  Canceled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const;

export type Code = (typeof Code)[keyof typeof Code];

/** Names of errors of the kernel whose meaning a caller can act on; all others are `Unknown`. */
const CODE_OF_ERRNO = new Map<string, Code>([
  ['EPERM', Code.PermissionDenied],
  ['EACCES', Code.PermissionDenied],
  ['ENOENT', Code.NotFound],
  ['ESRCH', Code.NotFound],
  ['ENODEV', Code.NotFound],
  ['EEXIST', Code.AlreadyExists],
  ['EINVAL', Code.InvalidArgument],
  ['ENAMETOOLONG', Code.InvalidArgument],
  ['ENOTDIR', Code.InvalidArgument],
  ['EISDIR', Code.InvalidArgument],
  ['ELOOP', Code.InvalidArgument],
  ['EBUSY', Code.FailedPrecondition],
  ['ENOTEMPTY', Code.FailedPrecondition],
  ['EROFS', Code.FailedPrecondition],
  ['ENOMEM', Code.ResourceExhausted],
  ['ENOSPC', Code.ResourceExhausted],
  ['EDQUOT', Code.ResourceExhausted],
  ['EMFILE', Code.ResourceExhausted],
  ['ENFILE', Code.ResourceExhausted],
  ['EAGAIN', Code.ResourceExhausted],
  ['ENOSYS', Code.Unimplemented],
  ['EOPNOTSUPP', Code.Unimplemented],
  ['ETIMEDOUT', Code.DeadlineExceeded],
  ['ECONNREFUSED', Code.Unavailable],
  ['ECONNRESET', Code.Unavailable],
  ['EPIPE', Code.Unavailable],
  ['EHOSTUNREACH', Code.Unavailable],
  ['ENETUNREACH', Code.Unavailable],
]);

/** The code for a name such as "ENOENT". */
function codeOfErrno(name: string): Code {
  return CODE_OF_ERRNO.get(name) ?? Code.Unknown;
}

/** A canonical code for a number that came over the wire; what is not one becomes `Unknown`. */
export function codeOfNumber(value: number): Code {
  return Number.isInteger(value) && value >= 0 && value <= Code.Unauthenticated ? (value as Code) : Code.Unknown;
}

export class TskataError extends Error {
  override readonly name = 'TskataError';
  /** Why, for a caller that decides. */
  readonly code: Code;
  /** What was caught, when this was made of it. */
  readonly reason: unknown;

  /** `message`: operation - subject - fact - what to try, in lower case. */
  constructor(code: Code, message: string, reason?: unknown) {
    super(message);
    this.code = code;
    this.reason = reason;
  }

  /**
   * Turns whatever was caught into a TskataError. An error may name its own code with a numeric `rpcCode`; a `code`
   * string such as "ENOENT", which Node and `agent/sys` put on theirs, is translated.
   */
  static from(caught: unknown): TskataError {
    if (caught instanceof TskataError) return caught;
    if (!(caught instanceof Error)) return new TskataError(Code.Unknown, String(caught), caught);
    const marks = caught as { readonly rpcCode?: unknown; readonly code?: unknown };
    if (typeof marks.rpcCode === 'number') return new TskataError(codeOfNumber(marks.rpcCode), caught.message, caught);
    if (caught.name === 'AbortError') return new TskataError(Code.Canceled, caught.message, caught);
    const code = typeof marks.code === 'string' ? codeOfErrno(marks.code) : Code.Unknown;
    return new TskataError(code, caught.message, caught);
  }
}

/** Text of a peer's as it may be shown: bounded, and without control characters. */
export function boundedText(text: string): string {
  const short = text.length > MAX_ERROR_CHARACTERS ? `${text.slice(0, MAX_ERROR_CHARACTERS)}...` : text;
  let result = '';
  for (const character of short) {
    const code = character.codePointAt(0) as number;
    const control = code < 0x20 || (code >= 0x7f && code < 0xa0);
    result += control ? (character === '\n' ? character : '?') : character;
  }
  return result;
}

/** Stops at a mistake of ours: never for what a peer or a user did. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new TskataError(Code.Internal, `assertion failed: ${message}`);
}
