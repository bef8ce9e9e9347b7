/**
 * Owns the host cgroup of a sandbox as its keeper carries it out: entered once for each keeper, since it ends with its
 * keeper. Refuses to know why the limits are what they are.
 */
import type { GroupAnswer, GroupLimits } from '../agent/protocol/generated/helper.ts';
import type { Init } from '../agent/protocol/message.ts';
import type { Keeper } from '../runtime/helper-client/keeper.ts';
import type { Logger } from '../runtime/host/log.ts';
import type { GroupRequest, HostGroup, HostLimits } from '../runtime/sandbox/host-group.ts';

const CALL = { timeoutMs: 10_000 };

/** The group that the keeper of `keepers` makes. */
export function createHostGroup(keepers: { keeper(): Promise<Keeper> }, log: Logger): HostGroup {
  let entered: { readonly keeper: Keeper; readonly done: Promise<void> } | undefined;
  return {
    enter: async (request) => {
      const keeper = await keepers.keeper();
      if (entered?.keeper !== keeper) entered = { keeper, done: enter(keeper, request, log) };
      const { done } = entered;
      await done.catch((error) => {
        // The next create may name another group.
        if (entered?.done === done) entered = undefined;
        throw error;
      });
    },
    limit: async (limits) => {
      const keeper = await keepers.keeper();
      if (entered?.keeper !== keeper) return;
      warnMissing(await keeper.call.limitGroup(message(limits), CALL), log);
    },
  };
}

async function enter(keeper: Keeper, request: GroupRequest, log: Logger): Promise<void> {
  const { path, ownParents, limits } = request;
  warnMissing(await keeper.call.enterGroup({ path, ownParents, limits: message(limits) }, CALL), log);
  log.info('host cgroup entered', { path });
}

/** The guest's own limits hold all the same; who runs the host should know what the host cannot enforce. */
function warnMissing({ missing }: GroupAnswer, log: Logger): void {
  if (missing.length > 0) log.warn('limits of the host cgroup do not hold: files are missing', { missing });
}

function message(limits: HostLimits): Init<GroupLimits> {
  const { memoryBytes, cpuShares, cpuQuotaUs, pids, cpusetCpus, cpusetMems, throttles } = limits;
  const wide = (value: number | undefined): bigint | undefined => (value === undefined ? undefined : BigInt(value));
  return {
    memoryBytes: wide(memoryBytes),
    cpuShares: wide(cpuShares),
    cpuQuotaUs: wide(cpuQuotaUs),
    pids: wide(pids),
    cpusetCpus: cpusetCpus ?? '',
    cpusetMems: cpusetMems ?? '',
    throttles: (throttles ?? []).map(({ kind, major, minor, rate }) => ({
      kind,
      major: BigInt(major),
      minor: BigInt(minor),
      rate: BigInt(rate),
    })),
  };
}
