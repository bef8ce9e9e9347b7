/**
 * Owns what a configuration may say to the sandbox itself: annotations by allow-list, and the machine's size. Refuses
 * unknown names under io.tskata: a limit that is misspelt must not vanish.
 */
import { isIP } from 'node:net';
import { isAbsolute } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import * as names from '../oci/annotations.ts';
import type { Spec } from '../oci/spec.ts';

/** A port of the host that leads into the guest. */
export interface PublishedPort {
  readonly hostIp: string;
  readonly hostPort: number;
  readonly containerPort: number;
}

/** How the guest reaches others and others reach it. */
export interface NetworkOptions {
  readonly mode: 'none' | 'user';
  readonly publish: readonly PublishedPort[];
  /** Name servers asked for; empty: those of the host. */
  readonly nameServers: readonly string[];
}

/** All that annotations say. */
export interface SandboxOptions {
  readonly network: NetworkOptions;
  /** Where init's output is kept, and the size at which it is rotated, in bytes. */
  readonly logFile?: { readonly path: string; readonly maxBytes: number };
  /** Set: nobody will call Delete, the sandbox ends with its container; what becomes of its record and log. */
  readonly detached?: 'keep' | 'remove';
  /** Set: the same once no client is connected any more and the container does not run. */
  readonly abandoned?: 'keep' | 'remove';
  readonly memoryMib?: number;
  readonly vcpus?: number;
}

/** The machine's size. */
export interface MachineSize {
  readonly memoryMib: number;
  readonly vcpus: number;
}

const DEFAULT_LOG_BYTES = 10 * 1024 * 1024;
const DEFAULT_MEMORY_MIB = 512;
/** Guest kernel, agent and page tables, on top of what a container may use. */
const GUEST_OVERHEAD_MIB = 128;
const MIN_MEMORY_MIB = 128;
const MAX_MEMORY_MIB = 1024 * 1024;
const MAX_VCPUS = 64;
const MIB = 1024 * 1024;
/** What people write for "no limit" is at least this. */
const UNLIMITED_BYTES = 2 ** 50;
const MAX_PUBLISHED = 256;

const KNOWN = new Set<string>([
  names.LOG_PATH,
  names.LOG_MAX_SIZE,
  names.NETWORK,
  names.PUBLISH,
  names.DNS,
  names.IMAGE,
  names.NAME,
  names.STOP_SIGNAL,
  names.STOP_TIMEOUT,
  names.DETACHED,
  names.ABANDONED,
  names.SANDBOX_MEMORY,
  names.SANDBOX_VCPUS,
]);

/** Reads the annotations of a configuration. Throws InvalidArgument naming the annotation. */
export function readOptions(annotations: Readonly<Record<string, string>>): SandboxOptions {
  for (const name of Object.keys(annotations)) {
    if (name.startsWith(names.RESERVED_PREFIX) && !KNOWN.has(name)) throw refused(name, 'unknown annotation');
  }
  const value = (name: string): string | undefined =>
    Object.hasOwn(annotations, name) ? annotations[name] : undefined;
  const path = value(names.LOG_PATH);
  if (path !== undefined && !isAbsolute(path)) throw refused(names.LOG_PATH, 'not an absolute path');
  const detached = value(names.DETACHED);
  const abandoned = value(names.ABANDONED);
  const memoryMib = integer(names.SANDBOX_MEMORY, value(names.SANDBOX_MEMORY), MIN_MEMORY_MIB, MAX_MEMORY_MIB);
  const vcpus = integer(names.SANDBOX_VCPUS, value(names.SANDBOX_VCPUS), 1, MAX_VCPUS);
  const maxBytes =
    integer(names.LOG_MAX_SIZE, value(names.LOG_MAX_SIZE), 4096, Number.MAX_SAFE_INTEGER) ?? DEFAULT_LOG_BYTES;
  return {
    network: {
      mode: oneOf(names.NETWORK, value(names.NETWORK) ?? 'none', ['none', 'user']),
      publish: published(value(names.PUBLISH)),
      nameServers: nameServers(value(names.DNS)),
    },
    ...(path === undefined ? {} : { logFile: { path, maxBytes } }),
    ...(detached === undefined ? {} : { detached: oneOf(names.DETACHED, detached, ['keep', 'remove']) }),
    ...(abandoned === undefined ? {} : { abandoned: oneOf(names.ABANDONED, abandoned, ['keep', 'remove']) }),
    ...(memoryMib === undefined ? {} : { memoryMib }),
    ...(vcpus === undefined ? {} : { vcpus }),
  };
}

/**
 * The size of a machine for this configuration: never smaller than the default, large enough for the container's own
 * limits. A limit on CPU alone keeps the default memory.
 */
export function machineSize(spec: Spec, options: SandboxOptions): MachineSize {
  const { memory = {}, cpu = {} } = spec.linux?.resources ?? {};
  const limit = memory.limit !== undefined && memory.limit > 0 && memory.limit < UNLIMITED_BYTES ? memory.limit : 0;
  const wanted = limit === 0 ? 0 : Math.ceil(limit / MIB) + GUEST_OVERHEAD_MIB;
  const cpus = cpu.quota !== undefined && cpu.quota > 0 ? Math.ceil(cpu.quota / (cpu.period || 100_000)) : 1;
  return {
    memoryMib: options.memoryMib ?? Math.min(MAX_MEMORY_MIB, Math.max(DEFAULT_MEMORY_MIB, wanted)),
    vcpus: options.vcpus ?? Math.min(MAX_VCPUS, Math.max(1, cpus)),
  };
}

function integer(name: string, text: string | undefined, least: number, most: number): number | undefined {
  if (text === undefined) return undefined;
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value) || value < least || value > most)
    throw refused(name, `'${text}' is not a number from ${least} to ${most}`);
  return value;
}

function oneOf<const T extends string>(name: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find((item) => item === text);
  if (found === undefined) throw refused(name, `'${text}' is none of ${allowed.join(', ')}`);
  return found;
}

function list(name: string, text: string | undefined): readonly unknown[] {
  if (text === undefined) return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refused(name, 'not JSON');
  }
  if (!Array.isArray(value)) throw refused(name, 'not a JSON list');
  return value;
}

function nameServers(text: string | undefined): string[] {
  return list(names.DNS, text).map((item) => {
    if (typeof item !== 'string' || isIP(item) === 0)
      throw refused(names.DNS, `${JSON.stringify(item)} is not an IP address`);
    return item;
  });
}

function published(text: string | undefined): PublishedPort[] {
  const items = list(names.PUBLISH, text);
  if (items.length > MAX_PUBLISHED) throw refused(names.PUBLISH, `more than ${MAX_PUBLISHED} ports`);
  return items.map((item) => {
    const {
      hostIp = '',
      hostPort,
      containerPort,
      ...rest
    } = (typeof item === 'object' && item !== null ? item : {}) as Record<string, unknown>;
    const unknown = Object.keys(rest)[0];
    if (unknown !== undefined) throw refused(names.PUBLISH, `unknown field '${unknown}'`);
    if (typeof hostIp !== 'string' || (hostIp !== '' && isIP(hostIp) === 0))
      throw refused(names.PUBLISH, 'hostIp is not an IP address');
    return { hostIp, hostPort: port(hostPort, 0), containerPort: port(containerPort, 1) };
  });
}

function port(value: unknown, least: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= 65_535) return value;
  throw refused(names.PUBLISH, `${JSON.stringify(value)} is not a port`);
}

function refused(name: string, why: string): TskataError {
  return new TskataError(Code.InvalidArgument, `annotations['${name}']: ${why}`);
}
