/**
 * Directories of containers that nobody has a record of and nobody is making: what a `run` left that was ended amid its
 * making or its clean-up.
 */
import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { containerFiles } from './container-files.ts';
import type { CliContext } from './context.ts';
import { isClaimed } from './name-claim.ts';

/** One without a bundle of ours may belong to a shim of containerd's that is just beginning. */
const GRACE_MS = 10 * 60 * 1000;

/** Their paths. */
export async function findOrphans(context: CliContext): Promise<string[]> {
  const roots = [join(context.runRoot, context.namespace), join(context.libRoot, 'containers', context.namespace)];
  const found: string[] = [];
  for (const root of roots) {
    for (const id of await readdir(root).catch(() => [])) {
      const path = join(root, id);
      if (await isOrphan(context, id, path)) found.push(path);
    }
  }
  return found;
}

async function isOrphan(context: CliContext, id: string, path: string): Promise<boolean> {
  // A `run` gives its claim back after there is a record: looked at in this order, one of them is seen.
  if (await isClaimed(context, id)) return false;
  if (hasRecord(context, id)) return false;
  const { bundle, lastingDirectory } = containerFiles(context, id);
  if (path === lastingDirectory || existsSync(bundle)) return true;
  const made = await stat(path).catch(() => undefined);
  return made !== undefined && Date.now() - made.mtimeMs > GRACE_MS;
}

/** A record that cannot be read is one: its container may run. */
function hasRecord(context: CliContext, id: string): boolean {
  try {
    return context.state.find(context.namespace, id) !== undefined;
  } catch {
    return true;
  }
}
