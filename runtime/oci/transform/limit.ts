/** Limits: cgroup resources and rlimits. */
import type { Transform } from './transform.ts';

const CPU_PERIOD_US = 100_000;

export const limit: Transform = (draft, request) => {
  const resources = { ...draft.linux.resources };
  if (request.memoryBytes !== undefined) {
    // The same value for memory and swap: no swap, as the guest has none.
    resources.memory = { limit: request.memoryBytes, swap: request.memoryBytes };
  }
  if (request.cpus !== undefined) {
    resources.cpu = { period: CPU_PERIOD_US, quota: Math.round(request.cpus * CPU_PERIOD_US) };
  }
  if (request.pidsLimit !== undefined) resources.pids = { limit: request.pidsLimit };
  draft.linux.resources = resources;
  if (request.ulimits.length > 0) draft.process.rlimits = [...request.ulimits];
};
