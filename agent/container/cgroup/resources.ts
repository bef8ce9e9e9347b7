/**
 * Owns the translation of the specification's resources, whose values are those of cgroup v1, into files of cgroup v2,
 * as runc does it (OCI config-linux.md, "control groups"; runc's libcontainer/cgroups/fs2). A pure function: it writes
 * nothing.
 */

import type { Resources } from '../../protocol/generated/agent.ts';
import { E } from '../../sys/errno.ts';

/** One write into a container's cgroup. */
export interface CgroupWrite {
  readonly file: string;
  readonly value: string;
  /** Errors that are no errors: a file that this kernel does not have while the value asks for nothing. */
  readonly ignore?: readonly number[];
  /** Written instead when `file` does not exist. */
  readonly otherwise?: CgroupWrite;
}

/** Resources that contradict themselves. */
export class ResourcesError extends Error {
  override readonly name = 'ResourcesError';
}

const DEFAULT_PERIOD_US = 100_000n;

/** v1 shares (2 to 262144) as a v2 weight (1 to 10000). */
export function weightOfShares(shares: bigint): bigint {
  if (shares === 0n) return 0n;
  const bounded = shares < 2n ? 2n : shares > 262_144n ? 262_144n : shares;
  return 1n + ((bounded - 2n) * 9999n) / 262_142n;
}

/** v1 blkio weight (10 to 1000) as io.weight (1 to 10000). */
export function weightOfBlkio(weight: number): number {
  return weight === 0 ? 0 : Math.trunc(1 + ((weight - 10) * 9999) / 990);
}

/** v1 counts memory and swap together; v2 counts swap alone. -1: unlimited, 0: leave alone. */
export function swapOnly(memorySwap: bigint, memory: bigint): bigint {
  if (memory === -1n && memorySwap === 0n) return -1n;
  if (memorySwap === -1n || memorySwap === 0n) return memorySwap;
  if (memory === 0n || memory === -1n) {
    throw new ResourcesError('resources: memory.swap needs memory.limit, since v1 counts both together');
  }
  if (memory < 0n) throw new ResourcesError(`resources: memory.limit ${memory} is not a size`);
  if (memorySwap < memory) {
    throw new ResourcesError(`resources: memory.swap ${memorySwap} is below memory.limit ${memory}, which it includes`);
  }
  return memorySwap - memory;
}

/** "max" for -1, undefined (not written) for 0 and absent. */
function limit(value: bigint | undefined): string | undefined {
  if (value === undefined || value === 0n) return undefined;
  return value < 0n ? 'max' : String(value);
}

/** The writes in the order in which they must happen. Throws ResourcesError. */
export function cgroupWrites(resources: Resources): readonly CgroupWrite[] {
  return [
    ...cpuWrites(resources),
    ...memoryWrites(resources),
    ...pidsWrites(resources),
    ...ioWrites(resources),
    ...hugepageWrites(resources),
    ...unifiedWrites(resources),
  ];
}

function cpuWrites(resources: Resources): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  const idle = resources.cpuIdle;
  if (idle !== undefined) writes.push({ file: 'cpu.idle', value: String(idle) });
  const weight = weightOfShares(resources.cpuShares ?? 0n);
  // An idle group has no weight of its own; the kernel refuses to set one.
  if (weight !== 0n && idle !== 1n) writes.push({ file: 'cpu.weight', value: String(weight) });
  const quota = resources.cpuQuota ?? 0n;
  const period = resources.cpuPeriod ?? 0n;
  const burst = resources.cpuBurst;
  const burstWrite = burst === undefined ? [] : [{ file: 'cpu.max.burst', value: String(burst) }];
  // A burst may not be above the quota: of the two, what makes room comes first.
  if (burst === 0n) writes.push(...burstWrite);
  if (quota !== 0n || period !== 0n) {
    const bound = quota > 0n ? String(quota) : 'max';
    writes.push({ file: 'cpu.max', value: `${bound} ${period === 0n ? DEFAULT_PERIOD_US : period}` });
  }
  if (burst !== undefined && burst !== 0n) writes.push(...burstWrite);
  if (resources.cpusetCpus !== '') writes.push({ file: 'cpuset.cpus', value: resources.cpusetCpus });
  if (resources.cpusetMems !== '') writes.push({ file: 'cpuset.mems', value: resources.cpusetMems });
  return writes;
}

function memoryWrites(resources: Resources): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  const memory = resources.memoryLimit ?? 0n;
  const memorySwap = resources.memorySwap ?? 0n;
  const swap = swapOnly(memorySwap, memory);
  // Both set and equal: no swap at all.
  const swapValue = swap === 0n && memorySwap > 0n ? '0' : limit(swap);
  if (swapValue !== undefined) {
    const harmless = swapValue === 'max' || swapValue === '0';
    writes.push({ file: 'memory.swap.max', value: swapValue, ...(harmless ? { ignore: [E.ENOENT] } : {}) });
  }
  const max = limit(memory);
  if (max !== undefined) writes.push({ file: 'memory.max', value: max });
  const low = limit(resources.memoryReservation);
  if (low !== undefined) writes.push({ file: 'memory.low', value: low });
  return writes;
}

function pidsWrites(resources: Resources): CgroupWrite[] {
  const pids = limit(resources.pidsLimit);
  return pids === undefined ? [] : [{ file: 'pids.max', value: pids }];
}

function ioWrites(resources: Resources): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  const weight = resources.blkioWeight ?? 0;
  if (weight !== 0) {
    const otherwise = { file: 'io.weight', value: `default ${weightOfBlkio(weight)}` };
    writes.push({ file: 'io.bfq.weight', value: String(weight), otherwise });
  }
  const throttles = [
    ['rbps', resources.throttleReadBps],
    ['wbps', resources.throttleWriteBps],
    ['riops', resources.throttleReadIops],
    ['wiops', resources.throttleWriteIops],
  ] as const;
  for (const [key, devices] of throttles) {
    for (const { major, minor, rate } of devices) {
      writes.push({ file: 'io.max', value: `${major}:${minor} ${key}=${rate === 0n ? 'max' : rate}` });
    }
  }
  return writes;
}

function hugepageWrites(resources: Resources): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  for (const { pageSize, limit: bytes } of resources.hugepageLimits) {
    if (!/^[0-9]+[KMG]B$/.test(pageSize)) throw new ResourcesError(`resources: huge page size "${pageSize}"`);
    // Kubernetes sends a limit of 0 for each size that its host has. The guest has none of a size without a file.
    writes.push({
      file: `hugetlb.${pageSize}.max`,
      value: String(bytes),
      ...(bytes === 0n ? { ignore: [E.ENOENT] } : {}),
    });
    writes.push({ file: `hugetlb.${pageSize}.rsvd.max`, value: String(bytes), ignore: [E.ENOENT] });
  }
  return writes;
}

function unifiedWrites(resources: Resources): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  for (const [file, value] of resources.unified) {
    if (!/^[a-z][a-z0-9_]*(\.[A-Za-z0-9_]+)+$/.test(file) || file.startsWith('cgroup.')) {
      throw new ResourcesError(`resources: unified names "${file}", which is no controller's file`);
    }
    writes.push({ file, value });
  }
  return writes;
}
