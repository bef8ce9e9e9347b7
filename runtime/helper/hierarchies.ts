/**
 * The cgroup hierarchies of this host and what a limit is called in each: v1 (one directory per controller), v2 (one for
 * all), or both with the controllers in v1. Pure.
 */

/** Where the controllers of a sandbox are, by mount point. */
export type Hierarchies =
  | { readonly version: 2; readonly mount: string }
  | { readonly version: 1; readonly mounts: ReadonlyMap<Controller, string> };

/** The controllers that a sandbox is charged by. */
const CONTROLLERS = ['cpu', 'cpuacct', 'cpuset', 'memory', 'blkio', 'pids'] as const;
export type Controller = (typeof CONTROLLERS)[number];

/**
 * What v2 calls them, to hand them down. CPU time is counted without any; asking for its controller would change the
 * weight among the host's groups.
 */
export const NAMES_2: Readonly<Record<Controller, string | undefined>> = {
  cpu: 'cpu',
  cpuacct: undefined,
  cpuset: 'cpuset',
  memory: 'memory',
  blkio: 'io',
  pids: 'pids',
};

/** Limits of a sandbox's group; what is absent is left as it is. */
export interface GroupLimits {
  readonly memoryBytes?: bigint | undefined;
  /** v1 shares, 2 to 262144. */
  readonly cpuShares?: bigint | undefined;
  /** Microseconds of each 100 ms; -1 for no limit. */
  readonly cpuQuotaUs?: bigint | undefined;
  readonly pids?: bigint | undefined;
  /** Lists of the host's CPUs and memory nodes; empty: as they are. */
  readonly cpusetCpus: string;
  readonly cpusetMems: string;
  readonly throttles: readonly Throttle[];
}

/** Limit of a block device of the host. */
interface Throttle {
  readonly kind: string;
  readonly major: bigint;
  readonly minor: bigint;
  /** Bytes or operations per second; 0 for no limit. */
  readonly rate: bigint;
}

/** One write into a control file. */
export interface GroupWrite {
  readonly controller: Controller;
  readonly file: string;
  readonly value: string;
}

const PERIOD_US = 100_000n;
const THROTTLES_1: ReadonlyMap<string, string> = new Map([
  ['rbps', 'blkio.throttle.read_bps_device'],
  ['wbps', 'blkio.throttle.write_bps_device'],
  ['riops', 'blkio.throttle.read_iops_device'],
  ['wiops', 'blkio.throttle.write_iops_device'],
]);

/** The mount point of the cgroup v2 hierarchy in a `mountinfo`, or undefined. */
export function findCgroup2(mountinfo: string): string | undefined {
  for (const line of mountinfo.split('\n')) {
    const [mount, file] = line.split(' - ');
    if (file?.startsWith('cgroup2 ')) return mount?.split(' ')[4];
  }
  return undefined;
}

/** From the text of /proc/self/mountinfo; undefined when no controller is anywhere. */
export function findHierarchies(mountinfo: string): Hierarchies | undefined {
  const mounts = new Map<Controller, string>();
  for (const line of mountinfo.split('\n')) {
    const [mount, file] = line.split(' - ');
    const [type, , options = ''] = file?.split(' ') ?? [];
    const point = mount?.split(' ')[4];
    if (type !== 'cgroup' || point === undefined) continue;
    const words = new Set(options.split(','));
    for (const controller of CONTROLLERS) if (words.has(controller)) mounts.set(controller, point);
  }
  if (mounts.size > 0) return { version: 1, mounts };
  const unified = findCgroup2(mountinfo);
  return unified === undefined ? undefined : { version: 2, mount: unified };
}

/** The writes for some limits, in the order in which they must happen. */
export function groupWrites(version: 1 | 2, limits: GroupLimits): GroupWrite[] {
  return version === 1 ? writes1(limits) : writes2(limits);
}

function writes1(limits: GroupLimits): GroupWrite[] {
  const writes: GroupWrite[] = [...cpusetWrites(limits)];
  const { memoryBytes, cpuShares, cpuQuotaUs, pids } = limits;
  const write = (controller: Controller, file: string, value: bigint | string): void => {
    writes.push({ controller, file, value: String(value) });
  };
  if (memoryBytes !== undefined) write('memory', 'memory.limit_in_bytes', memoryBytes);
  if (cpuShares !== undefined) write('cpu', 'cpu.shares', cpuShares);
  if (cpuQuotaUs !== undefined) {
    write('cpu', 'cpu.cfs_period_us', PERIOD_US);
    write('cpu', 'cpu.cfs_quota_us', cpuQuotaUs);
  }
  if (pids !== undefined) write('pids', 'pids.max', pids);
  for (const { kind, major, minor, rate } of limits.throttles) {
    const file = THROTTLES_1.get(kind);
    if (file !== undefined) write('blkio', file, `${major}:${minor} ${rate}`);
  }
  return writes;
}

function writes2(limits: GroupLimits): GroupWrite[] {
  const writes: GroupWrite[] = [...cpusetWrites(limits)];
  const { memoryBytes, cpuShares, cpuQuotaUs, pids } = limits;
  const write = (controller: Controller, file: string, value: bigint | string): void => {
    writes.push({ controller, file, value: String(value) });
  };
  if (memoryBytes !== undefined) write('memory', 'memory.max', memoryBytes);
  if (cpuShares !== undefined) write('cpu', 'cpu.weight', weightOfShares(cpuShares));
  if (cpuQuotaUs !== undefined) write('cpu', 'cpu.max', `${cpuQuotaUs < 0n ? 'max' : cpuQuotaUs} ${PERIOD_US}`);
  if (pids !== undefined) write('pids', 'pids.max', pids);
  for (const { kind, major, minor, rate } of limits.throttles) {
    if (THROTTLES_1.has(kind)) write('blkio', 'io.max', `${major}:${minor} ${kind}=${rate === 0n ? 'max' : rate}`);
  }
  return writes;
}

function cpusetWrites({ cpusetCpus, cpusetMems }: GroupLimits): GroupWrite[] {
  return [
    ...(cpusetMems === '' ? [] : [{ controller: 'cpuset' as const, file: 'cpuset.mems', value: cpusetMems }]),
    ...(cpusetCpus === '' ? [] : [{ controller: 'cpuset' as const, file: 'cpuset.cpus', value: cpusetCpus }]),
  ];
}

/** v1 shares (2 to 262144) as a v2 weight (1 to 10000), as runc has it. */
function weightOfShares(shares: bigint): bigint {
  const bounded = shares < 2n ? 2n : shares > 262_144n ? 262_144n : shares;
  return 1n + ((bounded - 2n) * 9999n) / 262_142n;
}
