/** Clean-up after a shim that died, by the `delete` that containerd would call. Refuses to know the container's own files. */
import { join } from 'node:path';
import { run } from '../host/process.ts';
import type { CliContext } from './context.ts';

const DELETE_DEADLINE_MS = 10_000;

/** 128 + SIGKILL: with its machine gone nobody can know better. */
export const LOST_STATUS = 137;

/** Ends what is left of the machine and removes sockets, mounts and the run directory. Idempotent. */
export async function deleteDeadShim(context: CliContext, id: string, bundle: string): Promise<void> {
  await run(
    join(context.programs, 'containerd-shim-tskata-v2'),
    ['-namespace', context.namespace, '-id', id, '-address', '', '-bundle', bundle, 'delete'],
    {
      timeoutMs: DELETE_DEADLINE_MS,
      cwd: '/',
      env: { TSKATA_RUN_ROOT: context.runRoot, TSKATA_LIB_ROOT: context.libRoot },
    },
  );
}
