/**
 * Instructions that the agent takes, its calls of the kernel included, from its main to its readiness. Under -icount with
 * shift 0 every instruction takes one nanosecond of the guest's time, so that the CPU time of a process counts them.
 */
import { startAgentVm } from '../helpers/agent-vm.ts';

/** Counts of two boots. Nothing of the host enters before the end of the count, so they are equal. */
export async function measureAgentInstructions(): Promise<readonly [number, number]> {
  return [await countOnce(), await countOnce()];
}

async function countOnce(): Promise<number> {
  const vm = await startAgentVm({ icount: true });
  try {
    const hello = await vm.call.hello({ protocol: 1000 });
    return Number(hello.readyCpuNs);
  } finally {
    await vm.stop();
  }
}
