/** `tskata gc`: finds and removes what crashes left, and says what. */
import { rm } from 'node:fs/promises';
import type { Command } from 'commander';
import type { CliContext, ContextSource } from './context.ts';
import { ExitWith } from './exit.ts';
import { openStore } from './image-flags.ts';
import { forgetDeadClaims } from './name-claim.ts';
import { collectGarbage } from './native.ts';
import { findOrphans } from './orphans.ts';
import { sweepDeadShims } from './sweep.ts';

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
    for (const { id, problem } of await sweepDeadShims(context)) {
      say(problem === undefined ? `container ${id}: cleaned up` : `container ${id}: ${problem}`);
      failed ||= problem !== undefined;
    }
    // Before anything is deleted: nothing may be mounted below what goes.
    for (const line of await collectGarbage(context.programs, context.runRoot)) say(`removed ${line}`);
  }
  if (!dryRun) for (const name of await forgetDeadClaims(context)) say(`removed the claim of the name ${name}`);
  for (const path of await findOrphans(context)) {
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
