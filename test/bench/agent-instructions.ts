/**
 * Instructions that the agent takes, its calls of the kernel included, from its execve to its readiness and to its first
 * answer. Under -icount with shift 0 every instruction takes one nanosecond of the guest's time, so that the CPU time of
 * a process counts them.
 */
import { startAgentVm } from '../helpers/agent-vm.ts';

/** Counts of one boot. */
export interface AgentInstructions {
  /** Nothing of the host enters before it: equal in any two boots. */
  readonly ready: number;
  /** The host chooses the instruction at which its request arrives: equal to the cost of an interrupt or two. */
  readonly answered: number;
}

/** Counts of two boots. */
export async function measureAgentInstructions(): Promise<readonly [AgentInstructions, AgentInstructions]> {
  return [await countOnce(), await countOnce()];
}

async function countOnce(): Promise<AgentInstructions> {
  const vm = await startAgentVm({ icount: true });
  try {
    await vm.call.hello({ protocol: 1000 });
    const { readyCpuNs, firstAnswerCpuNs } = await vm.call.hello({ protocol: 1000 });
    return { ready: Number(readyCpuNs), answered: Number(firstAnswerCpuNs) };
  } finally {
    await vm.stop();
  }
}
