/** The two directories that everything lies in: made when they are missing, refused by the flag's name when they cannot be used. */
import { access, constants, mkdir } from 'node:fs/promises';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { CliContext } from './context.ts';

/** For whoever writes records. */
export async function ensureRunRoot(context: CliContext): Promise<void> {
  await ensure('--run-root', context.runRoot);
}

/** For whoever uses images. */
export async function ensureLibRoot(context: CliContext): Promise<void> {
  await ensure('--root', context.libRoot);
}

async function ensure(flag: string, directory: string): Promise<void> {
  try {
    // The recursive form calls a read-only file system ENOENT (Node 26): its own words are only asked for in the end.
    await mkdir(directory, { recursive: true, mode: 0o700 }).catch(() => mkdir(directory, { mode: 0o700 }));
    await access(directory, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new TskataError(
      Code.FailedPrecondition,
      `${flag} ${directory}: ${(error as Error).message}; name a directory that can be written`,
    );
  }
}
