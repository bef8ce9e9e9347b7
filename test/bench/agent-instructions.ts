/**
 * Instructions that a guest executes between the start of the agent (execve of init) and its readiness. Under -icount with
 * shift 0 every instruction takes one nanosecond of the guest's time, so that the agent's own clock counts them.
 */
import { startAgentVm } from '../helpers/agent-vm.ts';

/** Counts of two boots; they should be equal. */
export async function measureAgentInstructions(): Promise<readonly [number, number]> {
  return [await countOnce(), await countOnce()];
}

async function countOnce(): Promise<number> {
  const vm = await startAgentVm({ icount: true });
  try {
    const hello = await vm.call.hello({ protocol: 1000 });
    return Number(hello.readyNs - hello.startedNs);
  } finally {
    await vm.stop();
  }
}
