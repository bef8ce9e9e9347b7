/** The native test program: runs the case named by its first argument and prints its result as JSON. */
import { engine } from '../../../../../agent/sys/native.ts';
import { callCases } from './calls.ts';
import { kernelCases } from './kernel.ts';
import { type Case, loop, sys } from './kit.ts';
import { loopCases } from './loops.ts';
import { spawnCases } from './spawns.ts';

const cases: Record<string, Case> = { ...callCases, ...loopCases, ...spawnCases, ...kernelCases };
const [, name = '', ...args] = sys.argv;
const expected: string[] = [];

async function main(): Promise<void> {
  const wanted = cases[name];
  if (wanted === undefined) throw new Error(`no case ${name}`);
  const result = await wanted(args);
  engine.print(`${JSON.stringify({ result: result ?? null, expected })}\n`);
  sys.exit(0);
}

function failed(error: unknown): void {
  const message = error instanceof Error ? `${error.message}\n${error.stack}` : String(error);
  if (message.startsWith('expected: ')) {
    expected.push((error as Error).message);
    return;
  }
  engine.print(`${name}: ${message}\n`);
  sys.exit(1);
}

main().catch(failed);
loop.run(failed);
failed(new Error('the loop has nothing left to wait for'));
