/** Which images living containers use, by the records of every namespace. */
import { type ImageUsage, usageFromAnnotations } from '../image/usage.ts';
import { isAlive } from '../state/process-ref.ts';
import type { CliContext } from './context.ts';

/** A container lives as long as its shim; what a dead one left protects nothing. */
export function imageUsage(context: CliContext): ImageUsage {
  return usageFromAnnotations(async () =>
    context.state
      .list()
      .flatMap(({ record }) =>
        record !== undefined && record.status !== 'stopped' && isAlive(record.shim) ? [record] : [],
      ),
  );
}
