/**
 * Owns what the configuration file may say: every key with its type, range, default and one sentence, once. The
 * reference in docs/configuration.md is made of these. Refuses to know files.
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { TENANT_ANNOTATIONS } from '../oci/annotations.ts';

/** Root and the distribution's own users are never given away (native helper: `users.ts`). */
const LOWEST_UID = 65_536;
const MAX_UIDS = 1 << 20;
const MAX_MEMORY_MIB = 1024 * 1024;
const MAX_PATH_BYTES = 4095;

/** A file of the host, named by the administrator. */
const file = z
  .string()
  .max(MAX_PATH_BYTES)
  .refine((path) => path.startsWith('/') && !path.includes('\0'), 'must be an absolute path');

const memoryMib = z.int().min(64).max(MAX_MEMORY_MIB);

/** "10.0.0.0/8", "2001:db8::/32", or one address. */
const range = z.string().refine(isRange, 'must be an address or a range like 10.0.0.0/8');

/** "/tskata", "/machine.slice": plain names, as a cgroup's path has them. */
const cgroupPath = z
  .string()
  .max(1024)
  .regex(/^(\/[A-Za-z0-9_@:-][A-Za-z0-9_.@:-]*)+$/, 'must be an absolute path of plain names, below the root');

const machine = z.strictObject({
  profile: z
    .string()
    .regex(/^[a-z0-9-]{1,64}$/, 'must be a name of letters, digits and "-"')
    .default('auto')
    .describe('Machine profile: a name in `qemu-configs`, or `auto` for the full machine of the accelerator.'),
  accelerator: z
    .enum(['auto', 'kvm', 'tcg'])
    .default('auto')
    .describe('`kvm`, `tcg` (translation, slower), or `auto`: KVM where a test guest ran under it.'),
  kernel: file.optional().describe("Guest kernel (PVH ELF or bzImage) instead of tskata's own."),
  initrd: file.optional().describe("Initial RAM disk with the agent, instead of tskata's own."),
  default_memory_mib: memoryMib
    .default(512)
    .describe('Memory of a machine whose containers have no limit; also the least for those that have one.'),
  min_memory_mib: memoryMib.default(128).describe('The least that an annotation may ask for.'),
  max_memory_mib: memoryMib
    .optional()
    .describe('The most that any machine gets. Without it: the memory of the host, less a sixteenth.'),
  default_vcpus: z
    .int()
    .min(1)
    .max(64)
    .default(1)
    .describe('Virtual CPUs of a machine whose containers have no limit.'),
  max_vcpus: z
    .int()
    .min(1)
    .max(64)
    .optional()
    .describe('The most virtual CPUs of any machine. Without it: as many as the host has, at most 64.'),
  guest_overhead_mib: z
    .int()
    .min(32)
    .max(4096)
    .default(128)
    .describe('Memory for guest kernel, agent and page tables, on top of the limits of containers.'),
});

const jail = z.strictObject({
  first_uid: z
    .int()
    .min(LOWEST_UID)
    .max(2 ** 32 - 3)
    .default(200_000)
    .describe(
      'First of the user ids that QEMU and the user-mode network run as; the range must belong to nobody else.',
    ),
  uid_count: z
    .int()
    .min(2)
    .max(MAX_UIDS)
    .default(65_536)
    .describe('Size of that range; a sandbox takes one id for its machine and one for its user network.'),
});

const network = z.strictObject({
  default_network: z.enum(['user', 'none']).default('user').describe('What `tskata run` does without `--network`.'),
  allowed_destinations: z
    .array(range)
    .max(256)
    .default([])
    .describe('Ranges that guests on the user network may reach although they are the host or link-local.'),
});

const log = z.strictObject({
  level: z
    .enum(['info', 'debug'])
    .default('info')
    .describe("Level of each shim's log; `debug` adds every call and the guest's early messages."),
  max_size_bytes: z
    .int()
    .min(4096)
    .max(2 ** 40)
    .default(10 * 1024 * 1024)
    .describe("Size at which a container's log of `tskata run` is rotated; one older file is kept."),
});

const cgroup = z.strictObject({
  enabled: z
    .boolean()
    .default(true)
    .describe(
      'Put QEMU, virtiofsd, the user-mode network, keeper and shim of a sandbox into a host cgroup of its own.',
    ),
  parent: cgroupPath.default('/tskata').describe('Where the groups of sandboxes lie that no orchestrator gave a path.'),
  overhead_memory_mib: z
    .int()
    .min(256)
    .max(65_536)
    .default(640)
    .describe(
      "Host memory beside the guest's own: QEMU, virtiofsd, the user-mode network, keeper and shim. Part of the group's limit.",
    ),
  overhead_cpu_millis: z
    .int()
    .min(100)
    .max(64_000)
    .default(1000)
    .describe("Thousandths of a CPU for devices and copying, on top of a sandbox's own limit of CPU time."),
});

/** The whole file. */
export const configSchema = z.strictObject({
  enable_annotations: z
    .array(z.enum(TENANT_ANNOTATIONS as [string, ...string[]]))
    .default([])
    .describe(
      'Annotations under `io.tskata.` that pods may set. Nothing that names a program or a path can be enabled.',
    ),
  machine: machine.prefault({}).describe('The virtual machine of a sandbox.'),
  jail: jail.prefault({}).describe('What confines the programs of a machine.'),
  network: network.prefault({}).describe('The user-mode network of `tskata run`.'),
  log: log.prefault({}).describe('Logs.'),
  cgroup: cgroup.prefault({}).describe('The host cgroup of a sandbox.'),
});

/** A checked configuration; every default is filled in. */
export type Config = z.infer<typeof configSchema>;

/** Rules between keys, as "key: what is wrong". */
export function* contradictions(config: Config): Generator<string> {
  const { machine: sizes, jail: users } = config;
  const most = sizes.max_memory_mib ?? MAX_MEMORY_MIB;
  if (sizes.min_memory_mib > most) yield 'machine.min_memory_mib: is above machine.max_memory_mib';
  if (sizes.default_memory_mib > most) yield 'machine.default_memory_mib: is above machine.max_memory_mib';
  if (sizes.default_memory_mib < sizes.min_memory_mib)
    yield 'machine.default_memory_mib: is below machine.min_memory_mib';
  if (sizes.default_vcpus > (sizes.max_vcpus ?? sizes.default_vcpus))
    yield 'machine.default_vcpus: is above machine.max_vcpus';
  if (users.first_uid + users.uid_count > 2 ** 32 - 2) yield 'jail.uid_count: the range ends beyond the last user id';
}

function isRange(text: string): boolean {
  const [address = '', prefix, ...more] = text.split('/');
  const family = isIP(address);
  if (family === 0 || more.length > 0) return false;
  return prefix === undefined || (/^[0-9]{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128));
}
