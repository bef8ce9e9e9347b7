/**
 * Instructions that the agent takes, its calls of the kernel included, from its execve to its readiness and to its first
 * answer. Under -icount with shift 0 every instruction takes one nanosecond of the guest's time, so that the CPU time of
 * a process counts them.
 */
import { startAgentVm } from '../helpers/agent-vm.ts';

/** Counts of one boot: equal in any two. */
export interface AgentInstructions {
  /** Nothing of the host enters before it. */
  readonly ready: number;
  /** What the host says up to then arrives while the guest stands still, having nothing to do. */
  readonly answered: number;
}

/** Counts of two boots. */
export async function measureAgentInstructions(): Promise<readonly [AgentInstructions, AgentInstructions]> {
  return [await countOnce(), await countOnce()];
}

async function countOnce(): Promise<AgentInstructions> {
  const vm = await startAgentVm({ icount: true, stepped: true });
  try {
    await vm.call.hello({ protocol: 1000 });
    const { readyCpuNs, firstAnswerCpuNs } = await vm.call.hello({ protocol: 1000 });
    return { ready: Number(readyCpuNs), answered: Number(firstAnswerCpuNs) };
  } finally {
    await vm.stop();
  }
}
