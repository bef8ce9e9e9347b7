/**
 * The OCI runtime specification (config.md, config-linux.md, versions 1.0 to 1.2) as strict schemas and their types.
 *
 * Owns the shape only: which fields exist and which JSON type each has. Unknown fields are refused with their path,
 * because a field that is silently dropped is a limit that is silently not applied. What a value means is checked in
 * `validate.ts`.
 */
import { z } from 'zod';

const uint32 = z.int().min(0).max(0xffff_ffff);
/** JSON numbers are exact to 2^53; runc's "unlimited" 2^64-1 and 2^63-1 arrive rounded and are treated as such. */
const int64 = z.number().refine((value) => Number.isInteger(value), 'must be an integer');
const uint64 = int64.refine((value) => value >= 0, 'must not be negative');
const text = z.string().refine((value) => !value.includes('\0'), 'must not contain a NUL character');
const strings = z.array(text);

const user = z.strictObject({
  uid: uint32.default(0),
  gid: uint32.default(0),
  umask: uint32.optional(),
  additionalGids: z.array(uint32).optional(),
  username: text.optional(),
});

const capabilities = z.strictObject({
  bounding: strings.optional(),
  effective: strings.optional(),
  inheritable: strings.optional(),
  permitted: strings.optional(),
  ambient: strings.optional(),
});

const scheduler = z.strictObject({
  policy: text,
  nice: z.int().optional(),
  priority: z.int().optional(),
  flags: strings.optional(),
  runtime: uint64.optional(),
  deadline: uint64.optional(),
  period: uint64.optional(),
});

export const processSchema = z.strictObject({
  terminal: z.boolean().optional(),
  consoleSize: z.strictObject({ height: uint32, width: uint32 }).optional(),
  user: user.default({ uid: 0, gid: 0 }),
  args: strings.optional(),
  commandLine: text.optional(),
  env: strings.optional(),
  cwd: text,
  capabilities: capabilities.optional(),
  rlimits: z.array(z.strictObject({ type: text, hard: uint64, soft: uint64 })).optional(),
  noNewPrivileges: z.boolean().optional(),
  apparmorProfile: text.optional(),
  oomScoreAdj: z.int().min(-1000).max(1000).optional(),
  scheduler: scheduler.optional(),
  selinuxLabel: text.optional(),
  ioPriority: z.strictObject({ class: text, priority: z.int() }).optional(),
  execCPUAffinity: z.strictObject({ initial: text.optional(), final: text.optional() }).optional(),
});

const idMapping = z.strictObject({ containerID: uint32, hostID: uint32, size: uint32 });

const mount = z.strictObject({
  destination: text,
  type: text.optional(),
  source: text.optional(),
  options: strings.optional(),
  uidMappings: z.array(idMapping).optional(),
  gidMappings: z.array(idMapping).optional(),
});

const hook = z.strictObject({
  path: text,
  args: strings.optional(),
  env: strings.optional(),
  timeout: z.int().optional(),
});

const device = z.strictObject({
  path: text,
  type: z.enum(['c', 'b', 'u', 'p']),
  major: int64.optional(),
  minor: int64.optional(),
  fileMode: uint32.optional(),
  uid: uint32.optional(),
  gid: uint32.optional(),
});

const deviceRule = z.strictObject({
  allow: z.boolean(),
  type: z.enum(['a', 'c', 'b', '']).optional(),
  major: int64.optional(),
  minor: int64.optional(),
  access: z
    .string()
    .regex(/^[rwm]{0,3}$/, 'must be made of r, w and m')
    .optional(),
});

const throttle = z.array(z.strictObject({ major: int64, minor: int64, rate: uint64 }));

export const resourcesSchema = z.strictObject({
  devices: z.array(deviceRule).optional(),
  memory: z
    .strictObject({
      limit: int64.optional(),
      reservation: int64.optional(),
      swap: int64.optional(),
      kernel: int64.optional(),
      kernelTCP: int64.optional(),
      swappiness: uint64.optional(),
      disableOOMKiller: z.boolean().optional(),
      useHierarchy: z.boolean().optional(),
      checkBeforeUpdate: z.boolean().optional(),
    })
    .optional(),
  cpu: z
    .strictObject({
      shares: uint64.optional(),
      quota: int64.optional(),
      burst: uint64.optional(),
      period: uint64.optional(),
      realtimeRuntime: int64.optional(),
      realtimePeriod: uint64.optional(),
      cpus: text.optional(),
      mems: text.optional(),
      idle: int64.optional(),
    })
    .optional(),
  pids: z.strictObject({ limit: int64 }).optional(),
  blockIO: z
    .strictObject({
      weight: z.int().min(0).max(1000).optional(),
      leafWeight: z.int().optional(),
      weightDevice: z
        .array(
          z.strictObject({
            major: int64,
            minor: int64,
            weight: z.int().optional(),
            leafWeight: z.int().optional(),
          }),
        )
        .optional(),
      throttleReadBpsDevice: throttle.optional(),
      throttleWriteBpsDevice: throttle.optional(),
      throttleReadIOPSDevice: throttle.optional(),
      throttleWriteIOPSDevice: throttle.optional(),
    })
    .optional(),
  hugepageLimits: z.array(z.strictObject({ pageSize: text, limit: uint64 })).optional(),
  network: z
    .strictObject({
      classID: uint32.optional(),
      priorities: z.array(z.strictObject({ name: text, priority: uint32 })).optional(),
    })
    .optional(),
  rdma: z.record(text, z.strictObject({ hcaHandles: uint32.optional(), hcaObjects: uint32.optional() })).optional(),
  unified: z.record(text, text).optional(),
});

export const seccompSchema = z.strictObject({
  defaultAction: text,
  defaultErrnoRet: uint32.optional(),
  architectures: strings.optional(),
  flags: strings.optional(),
  listenerPath: text.optional(),
  listenerMetadata: text.optional(),
  syscalls: z
    .array(
      z.strictObject({
        names: strings.min(1),
        action: text,
        errnoRet: uint32.optional(),
        args: z
          .array(
            z.strictObject({
              index: z.int().min(0).max(5),
              value: uint64,
              valueTwo: uint64.optional(),
              op: text,
            }),
          )
          .optional(),
      }),
    )
    .optional(),
});

const namespace = z.strictObject({
  type: z.enum(['pid', 'network', 'mount', 'ipc', 'uts', 'user', 'cgroup', 'time']),
  path: text.optional(),
});

const linux = z.strictObject({
  uidMappings: z.array(idMapping).optional(),
  gidMappings: z.array(idMapping).optional(),
  sysctl: z.record(text, text).optional(),
  resources: resourcesSchema.optional(),
  cgroupsPath: text.optional(),
  namespaces: z.array(namespace).optional(),
  devices: z.array(device).optional(),
  netDevices: z.record(text, z.strictObject({ name: text.optional() })).optional(),
  seccomp: seccompSchema.optional(),
  rootfsPropagation: z
    .enum(['', 'shared', 'slave', 'private', 'unbindable', 'rshared', 'rslave', 'rprivate', 'runbindable'])
    .optional(),
  maskedPaths: strings.optional(),
  readonlyPaths: strings.optional(),
  mountLabel: text.optional(),
  intelRdt: z.looseObject({}).optional(),
  personality: z.strictObject({ domain: text, flags: strings.optional() }).optional(),
  timeOffsets: z.record(text, z.strictObject({ secs: int64.optional(), nanosecs: uint32.optional() })).optional(),
});

export const specSchema = z.strictObject({
  ociVersion: text,
  root: z.strictObject({ path: text, readonly: z.boolean().optional() }).optional(),
  mounts: z.array(mount).optional(),
  process: processSchema.optional(),
  hostname: text.optional(),
  domainname: text.optional(),
  hooks: z
    .strictObject({
      prestart: z.array(hook).optional(),
      createRuntime: z.array(hook).optional(),
      createContainer: z.array(hook).optional(),
      startContainer: z.array(hook).optional(),
      poststart: z.array(hook).optional(),
      poststop: z.array(hook).optional(),
    })
    .optional(),
  annotations: z.record(text, text).optional(),
  linux: linux.optional(),
});

/** A container's configuration: config.json of a bundle. */
export type Spec = z.infer<typeof specSchema>;
/** The process section, also what an exec carries. */
export type SpecProcess = z.infer<typeof processSchema>;
/** linux.resources, also what an update carries. */
export type SpecResources = z.infer<typeof resourcesSchema>;
export type SpecSeccomp = z.infer<typeof seccompSchema>;
export type SpecMount = z.infer<typeof mount>;
export type SpecHook = z.infer<typeof hook>;
export type SpecDevice = z.infer<typeof device>;
export type SpecCapabilities = z.infer<typeof capabilities>;
