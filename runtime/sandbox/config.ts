/**
 * Owns what a bundle may say to the sandbox itself: annotations by allow-list. Refuses unknown names under io.tskata, a
 * limit that is misspelt must not vanish, and, in a bundle that is not of our own making, every name that the host's
 * administrator has not enabled.
 */
import { isIP } from 'node:net';
import { isAbsolute } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import * as names from '../oci/annotations.ts';

/**
 * Who wrote a sandbox's bundles: the `tskata` command, whose annotations are its orders, or containerd, which copies
 * into them what tenants write on their pods. Told by the launcher's command line, never by a bundle.
 */
export type Caller = 'command' | 'containerd';

/** Whose annotations are read, and which of them may be set by tenants. */
export interface AnnotationPolicy {
  readonly caller: Caller;
  /** Full names, all of them among TENANT_ANNOTATIONS. */
  readonly enabled: readonly string[];
  /** Where the administrator would enable more, for the error. */
  readonly source: string;
  /** Size at which a log is rotated when the bundle does not say. */
  readonly defaultLogBytes: number;
}

/** A port of the host that leads into the guest. */
export interface PublishedPort {
  readonly hostIp: string;
  readonly hostPort: number;
  readonly containerPort: number;
}

/** How the guest reaches others and others reach it. */
export interface NetworkOptions {
  /** Loopback only, user-mode, or what is in a network namespace of the host. */
  readonly mode: 'none' | 'user' | 'netns';
  /** Path of that namespace; empty: a new one of the sandbox's own. */
  readonly path?: string;
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

/** Sanity of the numbers; what the host and its configuration allow is checked by `machine-size.ts`. */
const MIN_MEMORY_MIB = 64;
const MAX_MEMORY_MIB = 1024 * 1024;
const MAX_VCPUS = 1024;
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

/** Reads the annotations of a bundle. Throws InvalidArgument naming the annotation. */
export function readOptions(annotations: Readonly<Record<string, string>>, policy: AnnotationPolicy): SandboxOptions {
  for (const name of Object.keys(annotations)) {
    if (!name.startsWith(names.RESERVED_PREFIX)) continue;
    if (!KNOWN.has(name)) throw refused(name, 'unknown annotation');
    if (policy.caller !== 'command' && !policy.enabled.includes(name)) throw notEnabled(name, policy);
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
    integer(names.LOG_MAX_SIZE, value(names.LOG_MAX_SIZE), 4096, Number.MAX_SAFE_INTEGER) ?? policy.defaultLogBytes;
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

function notEnabled(name: string, policy: AnnotationPolicy): TskataError {
  if (!names.TENANT_ANNOTATIONS.includes(name)) {
    return refused(name, "belongs to the tskata command, and can be set by nobody else's bundle");
  }
  const enabled = policy.enabled.length === 0 ? 'none is' : `enabled are ${policy.enabled.join(', ')}`;
  return refused(name, `not enabled on this host (${enabled}); see enable_annotations in ${policy.source}`);
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
