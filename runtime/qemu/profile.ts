/**
 * Machine profiles: qemu-configs/*.json read once into a checked type. It owns their schema; it builds no command line
 * and does not know which profile a sandbox gets.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { Code, TskataError } from '../../agent/protocol/errors.ts';

/** Option names and values are joined with commas on QEMU's line, so a comma in one would smuggle in another. */
const optionName = z
  .string()
  .regex(/^[a-z][a-z0-9_.-]*$/, 'an option name has lower case letters, digits, ".", "_" and "-"');
const optionValue = z
  .string()
  .regex(/^[A-Za-z0-9_./-]+$/, 'an option value has letters, digits, ".", "_", "/" and "-"');
const options = z.record(optionName, optionValue);
/** `tsc=reliable`, `quiet`; "{hostTscKhz}" is the one placeholder. Never anything of one sandbox. */
const kernelParameter = z.string().regex(/^[A-Za-z0-9_.,=:{}/-]+$/, 'a kernel parameter has no space and no quote');

const profileSchema = z.strictObject({
  /** What the profile is for, one sentence. */
  description: z.string().min(1).max(500),
  /** Instruction execution: hardware or translation. */
  accelerator: z.enum(['kvm', 'tcg']),
  /** Options of `-accel`. */
  acceleratorOptions: options,
  /** Machine type; decides bus and hotplug as well. */
  machine: z.enum(['q35', 'microvm']),
  /** Options of `-machine`. */
  machineOptions: options,
  /** CPU model and features, as `-cpu` has them. */
  cpu: z.strictObject({ model: optionValue, features: z.record(optionName, z.enum(['on', 'off'])) }),
  /** Properties of devices that the machine makes by itself, as `-global` has them: "DRIVER.PROPERTY" to value. */
  globals: z.record(z.string().regex(/^[A-Za-z0-9_-]+\.[a-z0-9-]+$/), optionValue),
  /** Firmware file, looked up in QEMU's data directories. */
  firmware: z.string().regex(/^[a-z0-9._-]+$/),
  /** Parameters of the guest kernel, in order. */
  kernelParameters: z.array(kernelParameter).max(64),
  /** How the agent is reached: ports of virtio-serial, or vsock by the host's kernel. */
  agentTransport: z.enum(['serial', 'vsock']).default('serial'),
  /** Time from QEMU's start until the guest has opened the agent's ports. */
  bootTimeoutMs: z.int().min(100).max(600_000),
});

/** A checked profile. */
export type MachineProfile = z.infer<typeof profileSchema> & {
  /** File name without ".json". */
  readonly name: string;
};

/** Largest profile file read. */
const MAX_PROFILE_BYTES = 64 * 1024;

/**
 * Checks the content of a profile file.
 *
 * @throws TskataError invalid_argument, naming the file and the path of each wrong or unknown field.
 */
export function parseProfile(name: string, text: string): MachineProfile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new TskataError(Code.InvalidArgument, `read machine profile ${name}: not JSON: ${String(error)}`);
  }
  const result = profileSchema.safeParse(value);
  if (!result.success) {
    const problems = result.error.issues.map((issue) => `$${issue.path.map(step).join('')}: ${issue.message}`);
    throw new TskataError(Code.InvalidArgument, `read machine profile ${name}: ${problems.join('; ')}`);
  }
  return { ...result.data, name };
}

/**
 * Reads qemu-configs/NAME.json.
 *
 * @throws TskataError not_found with the names there are, or invalid_argument.
 */
export async function loadProfile(directory: string, name: string): Promise<MachineProfile> {
  const file = path.join(directory, `${name}.json`);
  if (!/^[a-z0-9-]+$/.test(name)) {
    throw new TskataError(Code.InvalidArgument, `read machine profile ${JSON.stringify(name)}: not a profile name`);
  }
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch {
    throw new TskataError(Code.NotFound, `read machine profile ${name}: no readable file ${file}`);
  }
  if (text.length > MAX_PROFILE_BYTES) {
    throw new TskataError(Code.InvalidArgument, `read machine profile ${file}: longer than ${MAX_PROFILE_BYTES} bytes`);
  }
  return parseProfile(name, text);
}

function step(key: PropertyKey): string {
  return typeof key === 'number' ? `[${key}]` : `.${String(key)}`;
}
