/**
 * The record beside a saved machine: what it was saved under, and the check that it is only restored there. Device
 * state of one profile, QEMU or kernel means nothing to another. It touches no QEMU.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { Code, TskataError } from '../../agent/protocol/errors.ts';

/** Names in a saved machine's directory. */
export const STATE_FILE = 'device-state';
export const MEMORY_FILE = 'memory';
const RECORD_FILE = 'saved.json';

const identitySchema = z.strictObject({
  profile: z.string(),
  accelerator: z.enum(['kvm', 'tcg']),
  qemuVersion: z.string(),
  /** SHA-256 of the guest kernel's file. */
  kernelSha256: z.string(),
  initrdSha256: z.string(),
  memoryMib: z.int(),
  vcpus: z.int(),
  /** Everything that makes up the machine: the words of its command line but for files and descriptors. */
  machineSha256: z.string(),
});

const recordSchema = z.strictObject({ version: z.literal(1), identity: identitySchema });

/** What must be equal between saving and restoring. */
export type SavedIdentity = z.infer<typeof identitySchema>;

/** What each field is called in an error. */
const NAMES: { readonly [key in keyof SavedIdentity]: string } = {
  profile: 'machine profile',
  accelerator: 'accelerator',
  qemuVersion: 'QEMU version',
  kernelSha256: 'guest kernel',
  initrdSha256: 'initrd',
  memoryMib: 'memory size',
  vcpus: 'number of CPUs',
  machineSha256: 'set of devices',
};

/** Writes the record; the last file of a save, so that a directory without it is no saved machine. */
export async function writeRecord(directory: string, identity: SavedIdentity): Promise<void> {
  await writeFile(path.join(directory, RECORD_FILE), JSON.stringify({ version: 1, identity }), { mode: 0o600 });
}

/**
 * Reads the record and holds it against what the machine would be restored under.
 *
 * @throws TskataError not_found, invalid_argument (not a record), failed_precondition (naming what differs).
 */
export async function checkRecord(directory: string, present: SavedIdentity): Promise<void> {
  const file = path.join(directory, RECORD_FILE);
  const text = await readFile(file, 'utf8').catch(() => {
    throw new TskataError(Code.NotFound, `restore VM: ${directory} holds no saved machine (no ${RECORD_FILE})`);
  });
  const saved = parseRecord(file, text);
  const differences = (Object.keys(NAMES) as (keyof SavedIdentity)[])
    .filter((key) => saved[key] !== present[key])
    .map((key) => `${NAMES[key]} was ${shorten(saved[key])} and is ${shorten(present[key])}`);
  if (differences.length > 0) {
    throw new TskataError(
      Code.FailedPrecondition,
      `restore VM from ${directory}: saved under other conditions: ${differences.join('; ')}; save it anew`,
    );
  }
}

function parseRecord(file: string, text: string): SavedIdentity {
  try {
    return recordSchema.parse(JSON.parse(text)).identity;
  } catch {
    throw new TskataError(Code.InvalidArgument, `restore VM: ${file} is not a record of this version`);
  }
}

/** Hex SHA-256 of a file. */
export async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

function shorten(value: string | number): string {
  return typeof value === 'string' && value.length === 64 ? value.slice(0, 12) : String(value);
}
