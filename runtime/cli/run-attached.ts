/** A `run` that stays until the container has ended, and says why when that was not the container's own doing. */
import { join } from 'node:path';
import { attachAndStart } from './attach.ts';
import type { CliContext } from './context.ts';
import { deleteDeadShim, LOST_STATUS } from './dead-shim.ts';
import { Interrupted, type Interruption } from './interruption.ts';
import type { RunFlags } from './run-flags.ts';
import type { PreparedRun } from './run-source.ts';
import { Stdio } from './stdio.ts';
import type { Task } from './task.ts';

/** Creates, starts and follows. Returns the exit status. */
export async function runAttached(
  context: CliContext,
  task: Task,
  prepared: PreparedRun,
  runDirectory: string,
  flags: RunFlags,
  interruption: Interruption,
): Promise<number> {
  const terminal = prepared.spec.process?.terminal === true;
  const interactive = flags.interactive === true;
  const stdio = await Stdio.create(context.programs, join(runDirectory, 'stdio'), { stdin: interactive, terminal });
  try {
    stdio.copyOutput(process.stdout, process.stderr);
    await interruption.guard(task.create({ rootfs: prepared.rootfs, terminal, stdio: stdio.paths }));
    // From here on signals are the container's.
    interruption.release();
    const status = await attachAndStart({ programs: context.programs, task, execId: '', stdio, terminal, interactive });
    const reason = context.state.find(context.namespace, task.id)?.exit?.reason;
    if (reason !== undefined) process.stderr.write(`tskata: ${reason}\n`);
    return status;
  } catch (caught) {
    if (caught instanceof Interrupted || !(await task.lost())) throw caught;
    process.stderr.write('tskata: the shim of the container died, and its machine with it\n');
    await deleteDeadShim(context, task.id, task.bundle);
    return LOST_STATUS;
  } finally {
    await stdio.remove();
  }
}
