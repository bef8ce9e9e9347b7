/**
 * Reads a configuration from outside and says what is wrong with it, by JSON path, before anything is created.
 *
 * `spec.ts` knows the shape; this file knows what the values must mean for a container in a virtual machine.
 */
import type { z } from 'zod';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { MAX_PROCESS_BYTES, MAX_PROCESS_STRING_BYTES, MAX_PROCESS_STRINGS } from '../../agent/protocol/limits.ts';
import { hookProblems } from './hooks.ts';
import { personalityProblems, schedulingProblems } from './scheduling.ts';
import {
  processSchema,
  resourcesSchema,
  type Spec,
  type SpecProcess,
  type SpecResources,
  type SpecSeccomp,
  seccompSchema,
  specSchema,
} from './spec.ts';

/** One complaint. */
interface Problem {
  /** "linux.resources.memory.limit", "mounts[3].destination". */
  readonly path: string;
  readonly message: string;
}

const MAX_PROBLEMS_SHOWN = 5;

function jsonPath(parts: readonly PropertyKey[]): string {
  let path = '';
  for (const part of parts) {
    if (typeof part === 'number') path += `[${part}]`;
    else path += path === '' ? String(part) : `.${String(part)}`;
  }
  return path;
}

function flatten(error: z.ZodError): Problem[] {
  return error.issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({ path: jsonPath([...issue.path, key]), message: 'unknown field' }));
    }
    return [{ path: jsonPath(issue.path) || '(top)', message: issue.message.replace(/^Invalid input: /, '') }];
  });
}

/** Throws InvalidArgument with every problem (at most five in the text). */
function refuse(subject: string, problems: readonly Problem[]): never {
  const shown = problems.slice(0, MAX_PROBLEMS_SHOWN).map((problem) => `${problem.path}: ${problem.message}`);
  if (problems.length > shown.length) shown.push(`and ${problems.length - shown.length} more`);
  throw new TskataError(Code.InvalidArgument, `${subject}: ${shown.join('; ')}`);
}

function parseWith<T>(schema: z.ZodType<T>, subject: string, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (!parsed.success) refuse(subject, flatten(parsed.error));
  return parsed.data;
}

/** Parses JSON text; the error names the subject and where the text stops being JSON. */
export function parseJson(subject: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TskataError(Code.InvalidArgument, `${subject}: not JSON: ${(error as Error).message}`);
  }
}

/**
 * A container's configuration. `subject` is what the error calls it (the path of config.json).
 * @throws TskataError invalid_argument naming JSON paths.
 */
export function parseSpec(subject: string, value: unknown): Spec {
  const spec = parseWith<Spec>(specSchema, subject, value);
  const problems = [...specProblems(spec)];
  if (problems.length > 0) refuse(subject, problems);
  return spec;
}

/** The process of an exec (OCI runtime spec, "Process"). */
export function parseProcess(subject: string, value: unknown): SpecProcess {
  const process = parseWith<SpecProcess>(processSchema, subject, value);
  const problems = [...processProblems(process, '')];
  if (problems.length > 0) refuse(subject, problems);
  return process;
}

/** The resources of an update (OCI runtime spec, "linux.resources"). */
export function parseResources(subject: string, value: unknown): SpecResources {
  const resources = parseWith<SpecResources>(resourcesSchema, subject, value);
  const problems = [...resourceProblems(resources, '')];
  if (problems.length > 0) refuse(subject, problems);
  return resources;
}

/** A seccomp profile file in the OCI form. */
export function parseSeccomp(subject: string, value: unknown): SpecSeccomp {
  return parseWith<SpecSeccomp>(seccompSchema, subject, value);
}

function* specProblems(spec: Spec): Generator<Problem> {
  if (!/^1\.\d+\.\d+/.test(spec.ociVersion)) {
    yield { path: 'ociVersion', message: `${JSON.stringify(spec.ociVersion)} is not a 1.x version` };
  }
  if (spec.process === undefined) yield { path: 'process', message: 'is required' };
  else yield* processProblems(spec.process, 'process.');
  yield* mountProblems(spec);
  for (const [path, message] of hookProblems(spec.hooks)) yield { path, message };
  yield* namespaceProblems(spec);
  yield* linuxProblems(spec);
}

function* processProblems(process: SpecProcess, prefix: string): Generator<Problem> {
  if (process.args === undefined || process.args.length === 0) {
    yield { path: `${prefix}args`, message: 'must name a program' };
  }
  if (!process.cwd.startsWith('/')) yield { path: `${prefix}cwd`, message: 'must be an absolute path' };
  for (const [index, entry] of (process.env ?? []).entries()) {
    if (!/^[^=]+=/.test(entry)) yield { path: `${prefix}env[${index}]`, message: 'must be NAME=value' };
  }
  yield* stringProblems(process, prefix);
  for (const [path, message] of schedulingProblems(process)) yield { path: `${prefix}${path}`, message };
  if (process.execCPUAffinity !== undefined) {
    yield { path: `${prefix}execCPUAffinity`, message: 'is not supported; use linux.resources.cpu.cpus' };
  }
  for (const [index, limit] of (process.rlimits ?? []).entries()) {
    if (!/^RLIMIT_[A-Z]+$/.test(limit.type)) {
      yield { path: `${prefix}rlimits[${index}].type`, message: `${JSON.stringify(limit.type)} is not a limit's name` };
    }
    if (limit.soft > limit.hard) yield { path: `${prefix}rlimits[${index}].soft`, message: 'is above hard' };
  }
}

/** What execve or the agent would refuse: found out before a machine is started for it. */
function* stringProblems(process: SpecProcess, prefix: string): Generator<Problem> {
  let total = 0;
  for (const name of ['args', 'env'] as const) {
    const strings = process[name] ?? [];
    if (strings.length > MAX_PROCESS_STRINGS) {
      const message = `${strings.length} entries; at most ${MAX_PROCESS_STRINGS} can be given to a process`;
      yield { path: `${prefix}${name}`, message };
    }
    for (const [index, entry] of strings.entries()) {
      const bytes = Buffer.byteLength(entry);
      total += bytes + 1;
      if (bytes > MAX_PROCESS_STRING_BYTES) {
        const message = `${bytes} bytes; at most ${MAX_PROCESS_STRING_BYTES} can be given to a process: use a file`;
        yield { path: `${prefix}${name}[${index}]`, message };
      }
    }
  }
  if (total > MAX_PROCESS_BYTES) {
    const message = `${total} bytes with args; at most ${MAX_PROCESS_BYTES} can be given to a process: use a file`;
    yield { path: `${prefix}env`, message };
  }
}

function* mountProblems(spec: Spec): Generator<Problem> {
  for (const [index, mount] of (spec.mounts ?? []).entries()) {
    if (!mount.destination.startsWith('/')) {
      yield { path: `mounts[${index}].destination`, message: 'must be an absolute path' };
    }
    const bind =
      mount.type === 'bind' || (mount.options ?? []).some((option) => option === 'bind' || option === 'rbind');
    if (bind && !mount.source) yield { path: `mounts[${index}].source`, message: 'is required for a bind' };
  }
}

function* namespaceProblems(spec: Spec): Generator<Problem> {
  const seen = new Set<string>();
  for (const [index, namespace] of (spec.linux?.namespaces ?? []).entries()) {
    if (seen.has(namespace.type)) yield { path: `linux.namespaces[${index}].type`, message: 'is there twice' };
    seen.add(namespace.type);
  }
  if (seen.has('user') !== (spec.linux?.uidMappings ?? []).length > 0) {
    yield { path: 'linux.uidMappings', message: 'go together with a namespace of type user' };
  }
}

/**
 * Limits that a cgroup v2 guest cannot hold: refused, because a limit that is not applied must not look as if it were.
 * Swappiness (a guest has no swap) and kernel memory (deprecated by the spec) are without effect and pass.
 */
function* resourceProblems(resources: SpecResources, prefix: string): Generator<Problem> {
  const { cpu = {}, blockIO = {}, network = {} } = resources;
  const asked: readonly (readonly [string, boolean])[] = [
    ['cpu.realtimeRuntime', (cpu.realtimeRuntime ?? 0) !== 0],
    ['cpu.realtimePeriod', (cpu.realtimePeriod ?? 0) !== 0],
    ['blockIO.leafWeight', (blockIO.leafWeight ?? 0) !== 0],
    ['blockIO.weightDevice', (blockIO.weightDevice ?? []).length > 0],
    ['network.classID', (network.classID ?? 0) !== 0],
    ['network.priorities', (network.priorities ?? []).length > 0],
    ['rdma', Object.keys(resources.rdma ?? {}).length > 0],
  ];
  for (const [field, set] of asked) {
    if (set) yield { path: `${prefix}${field}`, message: 'is not supported by the guest (cgroup v2)' };
  }
}

function* linuxProblems(spec: Spec): Generator<Problem> {
  yield* resourceProblems(spec.linux?.resources ?? {}, 'linux.resources.');
  for (const [index, device] of (spec.linux?.devices ?? []).entries()) {
    if (!device.path.startsWith('/'))
      yield { path: `linux.devices[${index}].path`, message: 'must be an absolute path' };
    if (device.type !== 'p' && (device.major === undefined || device.minor === undefined)) {
      yield { path: `linux.devices[${index}].major`, message: 'major and minor are required' };
    }
  }
  if (spec.linux?.seccomp?.listenerPath) {
    yield { path: 'linux.seccomp.listenerPath', message: 'a notify listener on the host is not supported' };
  }
  for (const [path, message] of personalityProblems(spec.linux?.personality)) {
    yield { path: `linux.personality.${path}`, message };
  }
  if (Object.keys(spec.linux?.timeOffsets ?? {}).length > 0) {
    yield {
      path: 'linux.timeOffsets',
      message: 'is not supported: the clocks of a container are those of its machine',
    };
  }
  if (Object.keys(spec.linux?.intelRdt ?? {}).length > 0) {
    yield { path: 'linux.intelRdt', message: 'the processor of a machine has no resource director' };
  }
  if (Object.keys(spec.linux?.netDevices ?? {}).length > 0) {
    yield { path: 'linux.netDevices', message: 'host network devices cannot be moved into the machine' };
  }
}
