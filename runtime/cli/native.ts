/** What the command line needs of the native helper, as single calls. */
import { join } from 'node:path';
import { run } from '../host/process.ts';

const DEADLINE_MS = 10_000;

/** Makes FIFOs for the owner alone; Node cannot. */
export async function makeFifos(programs: string, paths: readonly string[]): Promise<void> {
  await run(join(programs, 'tskata-helper'), ['fifo', ...paths], { timeoutMs: DEADLINE_MS });
}
