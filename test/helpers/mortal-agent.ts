/** An initial RAM disk whose agent dies when a container writes a certain number into a setting of the guest's kernel. */
import { join } from 'node:path';
import { buildNative } from '../../agent/build.ts';
import { buildInitrd } from '../../guest-kernel/initrd.ts';

/** What is written into vm.swappiness for a death by a fault in the agent's code, and by an exit. */
export const DEATH_BY_FAULT = 71;
export const DEATH_BY_EXIT = 72;

/** Builds it at `initrd`; the agent itself goes to `agent`. */
export async function buildMortalInitrd(agent: string, initrd: string): Promise<void> {
  const entry = join(import.meta.dirname, '../fault/fixtures/mortal-agent.ts');
  await buildNative({ name: 'tskata-agent', entry, outFile: agent });
  await buildInitrd({ agentBinary: agent, outFile: initrd });
}
