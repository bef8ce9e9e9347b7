/** What the agent's start costs, in instructions: a number that a machine cannot blur. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { run } from '../../../runtime/host/process.ts';
import { measureAgentInstructions } from '../../bench/agent-instructions.ts';

/** Of these the engine and its bytecode, file systems, cgroups and the ports; a jump is worth a look before it lands. */
const MOST_INSTRUCTIONS = 30_000_000;
const LEAST_INSTRUCTIONS = 1_000_000;

it('starts in the same number of instructions every time', { timeout: 400_000 }, async () => {
  const [first, second] = await measureAgentInstructions();
  const [ready, answered] = [first.ready, first.answered].map((count) => count.toLocaleString('en'));
  console.log(`instructions from the agent's execve to its readiness: ${ready}, to its first answer: ${answered}`);
  expect(second).toEqual(first);
  expect(first.ready).toBeGreaterThan(LEAST_INSTRUCTIONS);
  expect(first.answered).toBeGreaterThan(first.ready);
  expect(first.answered).toBeLessThan(MOST_INSTRUCTIONS);
  // The program of those machines, as it is shipped.
  const agent = join(import.meta.dirname, '../../../build/test/tskata-agent');
  expect(statSync(agent).size).toBeLessThanOrEqual(3_000_000);
  const { stdout } = await run('readelf', ['--program-headers', '--dynamic', agent], { timeoutMs: 10_000 });
  expect(stdout).not.toMatch(/INTERP|NEEDED/);
});
