/**
 * Owns: the contents of the guest's first root file system: the agent as /init, and the directories on which it mounts.
 * Refuses to know: which sandbox will boot it. Nothing about a sandbox may ever be in here: one archive serves all.
 */
import { randomUUID } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { type CpioEntry, writeCpio } from './cpio.ts';

export type InitrdOptions = {
  /** The agent: one static x86-64 executable. */
  readonly agentBinary: string;
  /** Where the archive goes; replaced in one step. */
  readonly outFile: string;
};

const ELF_MAGIC = Buffer.from([0x7f, 0x45, 0x4c, 0x46]);

/**
 * Writes the archive, uncompressed: unpacking costs guest CPU in every start, and the host's page cache holds it once.
 *
 * @returns its size
 * @throws Error when the agent cannot be read, is no ELF program, or the archive cannot be written
 */
export async function buildInitrd(options: InitrdOptions): Promise<{ bytes: number }> {
  const agent = await readFile(options.agentBinary);
  if (!agent.subarray(0, ELF_MAGIC.length).equals(ELF_MAGIC)) {
    throw new Error(`build initrd from ${options.agentBinary}: not an ELF executable: build the agent first`);
  }
  const archive = writeCpio(initrdEntries(agent));
  const temporary = `${options.outFile}.${randomUUID()}`;
  try {
    await writeFile(temporary, archive, { mode: 0o644, flag: 'wx' });
    await rename(temporary, options.outFile);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  return { bytes: archive.length };
}

/** What is in the archive, for tests as well. */
export function initrdEntries(agent: Uint8Array): CpioEntry[] {
  return [
    { kind: 'directory', path: 'dev', mode: 0o755 },
    // the kernel opens it as descriptors 0 to 2 of init, before init can mount devtmpfs
    { kind: 'char-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { kind: 'directory', path: 'proc', mode: 0o555 },
    { kind: 'directory', path: 'run', mode: 0o755 },
    { kind: 'directory', path: 'sys', mode: 0o555 },
    { kind: 'directory', path: 'tmp', mode: 0o1777 },
    { kind: 'file', path: 'init', mode: 0o755, data: agent },
  ];
}
