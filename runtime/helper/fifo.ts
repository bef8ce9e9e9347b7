/** Mode `fifo PATH...`: makes FIFOs for their owner alone. Node cannot. */
import { mknod } from '../../agent/sys/calls.ts';
import { S } from '../../agent/sys/linux.ts';
import type { Sys } from '../../agent/sys/sys.ts';

/** Makes all or throws at the first that fails. */
export function makeFifos(sys: Sys, paths: readonly string[]): void {
  for (const path of paths) mknod(sys, path, S.IFIFO | 0o600, 0);
}
