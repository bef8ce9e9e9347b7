/** `tskata gc`: finds and removes what crashes left, and says what. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { CliContext, ContextSource } from './context.ts';
import { ExitWith } from './exit.ts';
import { openStore } from './image-flags.ts';
import { collectGarbage } from './native.ts';
import { sweep } from './sweep.ts';

/** A directory without a record may belong to a `run` that is just beginning. */
const GRACE_MS = 10 * 60 * 1000;

export function register(program: Command, context: ContextSource): void {
  program
    .command('gc')
    .description('remove what crashes left')
    .option('-n, --dry-run', 'only say what would be removed')
    .action(async (flags: { dryRun?: boolean }) => collect(context(), flags.dryRun === true));
}

async function collect(context: CliContext, dryRun: boolean): Promise<void> {
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  let failed = false;
  if (!dryRun) {
    for (const { id, problem } of await sweep(context)) {
      say(problem === undefined ? `container ${id}: cleaned up` : `container ${id}: ${problem}`);
      failed ||= problem !== undefined;
    }
    // Before anything is deleted: nothing may be mounted below what goes.
    for (const line of await collectGarbage(context.programs, context.runRoot)) say(`removed ${line}`);
  }
  for (const path of await orphans(context)) {
    say(`${dryRun ? 'would remove' : 'removed'} ${path}`);
    if (!dryRun) await rm(path, { recursive: true, force: true });
  }
  if (!dryRun) {
    // Opening the store removes what dead pulls left; then go the files that no image needs.
    const bytes = await (await openStore(context)).prune();
    if (bytes > 0) say(`removed ${(bytes / 1e6).toFixed(1)} MB of layers that no image needs`);
  }
  if (failed) throw new ExitWith(1);
}

/** Directories of containers that nobody has a record of. */
async function orphans(context: CliContext): Promise<string[]> {
  const known = new Set(context.state.list(context.namespace).flatMap(({ id, record }) => (record ? [id] : [])));
  const roots = [join(context.runRoot, context.namespace), join(context.libRoot, 'containers', context.namespace)];
  const found: string[] = [];
  for (const root of roots) {
    for (const name of await readdir(root).catch(() => [])) {
      const path = join(root, name);
      const { mtimeMs } = await stat(path);
      if (!known.has(name) && Date.now() - mtimeMs > GRACE_MS) found.push(path);
    }
  }
  return found;
}
