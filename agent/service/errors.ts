/** Owns the one translation of what a handler throws into the status of an answer. */
import { ResourcesError } from '../container/cgroup/resources.ts';
import { StepError } from '../container/launch.ts';
import { SeccompError } from '../container/plan/seccomp.ts';
import { UserError } from '../container/user.ts';
import { Code, TskataError } from '../protocol/errors.ts';

const CALLERS_MISTAKES = [ResourcesError, SeccompError, UserError, RangeError];

/** Everything that was caught, as an error with a code. */
function toStatus(caught: unknown): TskataError {
  if (caught instanceof Error && CALLERS_MISTAKES.some((kind) => caught instanceof kind)) {
    return new TskataError(Code.InvalidArgument, caught.message, caught);
  }
  if (caught instanceof StepError) return new TskataError(TskataError.from(caught).code, caught.message, caught);
  return TskataError.from(caught);
}

/** A table of handlers whose failures all go through `toStatus`. */
export function withStatus<T extends object>(handlers: T): T {
  const wrapped: Record<string, unknown> = {};
  for (const [name, handler] of Object.entries(handlers) as [string, (...args: unknown[]) => unknown][]) {
    wrapped[name] = async (...args: unknown[]) => {
      try {
        return await handler(...args);
      } catch (error) {
        throw toStatus(error);
      }
    };
  }
  return wrapped as T;
}
