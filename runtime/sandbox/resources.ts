/**
 * Owns the translation of linux.resources, for a create as for an update: only what is set is sent.
 */
import type { DeviceRule, Resources } from '../../agent/protocol/generated/agent.ts';
import type { Init } from '../../agent/protocol/message.ts';
import type { SpecResources } from '../oci/spec.ts';
import { int64, uint64 } from './wide-int.ts';

/**
 * Builds the message. Values keep the meaning of the OCI specification; the agent translates them to cgroup v2. Numbers of
 * CPUs, memory nodes and block devices are those of the host and stay there (`host-group.ts`).
 */
export function resourcesMessage(source: SpecResources): Init<Resources> {
  const { memory = {}, cpu = {}, blockIO = {} } = source;
  return {
    devices: (source.devices ?? []).map(deviceRule),
    memoryLimit: wide(memory.limit, int64),
    memoryReservation: wide(memory.reservation, int64),
    memorySwap: wide(memory.swap, int64),
    disableOomKiller: memory.disableOOMKiller,
    cpuShares: wide(cpu.shares, uint64),
    cpuQuota: wide(cpu.quota, int64),
    cpuPeriod: wide(cpu.period, uint64),
    cpuBurst: wide(cpu.burst, uint64),
    cpuIdle: wide(cpu.idle, int64),
    pidsLimit: wide(source.pids?.limit, int64),
    blkioWeight: blockIO.weight,
    hugepageLimits: (source.hugepageLimits ?? []).map(({ pageSize, limit }) => ({ pageSize, limit: uint64(limit) })),
    unified: new Map(Object.entries(source.unified ?? {})),
  };
}

function wide(value: number | undefined, convert: (value: number) => bigint): bigint | undefined {
  return value === undefined ? undefined : convert(value);
}

function deviceRule(rule: NonNullable<SpecResources['devices']>[number]): Init<DeviceRule> {
  return {
    allow: rule.allow,
    type: rule.type === undefined || rule.type === '' ? 'a' : rule.type,
    major: int64(rule.major ?? -1),
    minor: int64(rule.minor ?? -1),
    access: rule.access === undefined || rule.access === '' ? 'rwm' : rule.access,
  };
}
