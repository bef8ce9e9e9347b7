/** `tskata rmi`: a name goes, and the image with its last name. */
import type { Command } from 'commander';
import { familiarName } from '../image/reference.ts';
import type { CliContext, ContextSource } from './context.ts';
import { report } from './exit.ts';
import { openStore } from './image-flags.ts';

export function register(program: Command, context: ContextSource): void {
  program
    .command('rmi')
    .description('remove images: by name, or by id with all names')
    .argument('<image...>')
    .addHelpText('after', '\nExamples:\n  tskata rmi busybox\n  tskata rmi 3f2a9c41d07b')
    .action(async (images: string[]) => remove(context(), images));
}

/** One that cannot be removed does not keep the others. */
async function remove(context: CliContext, images: readonly string[]): Promise<void> {
  const store = await openStore(context);
  for (const image of images) {
    try {
      const removed = await store.remove(image);
      for (const name of removed.names) process.stdout.write(`untagged ${familiarName(name)}\n`);
      if (removed.id !== undefined) process.stdout.write(`deleted ${removed.id}\n`);
    } catch (error) {
      process.exitCode = report(error, 1, context.debug);
    }
  }
}
