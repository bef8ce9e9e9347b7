/** What the agent's start costs, in instructions: a number that a machine cannot blur. */
import { expect, it } from 'vitest';
import { measureAgentInstructions } from '../../bench/agent-instructions.ts';

/** Of these the engine and its bytecode, file systems, cgroups and the ports; a jump is worth a look before it lands. */
const MOST_INSTRUCTIONS = 30_000_000;
const LEAST_INSTRUCTIONS = 1_000_000;

it('starts in the same number of instructions every time', { timeout: 400_000 }, async () => {
  const [first, second] = await measureAgentInstructions();
  console.log(`instructions from the agent's main to its readiness: ${first.toLocaleString('en')}`);
  expect(second).toBe(first);
  expect(first).toBeGreaterThan(LEAST_INSTRUCTIONS);
  expect(first).toBeLessThan(MOST_INSTRUCTIONS);
});
