/** What the command line needs of the native helper, as single calls. */
import { join } from 'node:path';
import { run } from '../host/process.ts';

const DEADLINE_MS = 10_000;

/** Makes FIFOs for the owner alone; Node cannot. */
export async function makeFifos(programs: string, paths: readonly string[]): Promise<void> {
  await run(join(programs, 'tskata-helper'), ['fifo', ...paths], { timeoutMs: DEADLINE_MS });
}

/** Unmounts and removes what no container's own clean-up finds any more; one line for each thing. */
export async function collectGarbage(programs: string, runRoot: string): Promise<string[]> {
  const { stdout } = await run(join(programs, 'tskata-helper'), ['gc', runRoot], { timeoutMs: DEADLINE_MS });
  return stdout.split('\n').filter((line) => line !== '');
}
