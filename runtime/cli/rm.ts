/** `tskata rm`: forgets ended containers, with their logs. */
import type { Command } from 'commander';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { isAlive } from '../state/process-ref.ts';
import type { ContainerRecord } from '../state/record.ts';
import { containerFiles, removeContainerFiles } from './container-files.ts';
import type { CliContext, ContextSource } from './context.ts';
import { findContainer } from './names.ts';
import { openTask } from './task.ts';

export function register(program: Command, context: ContextSource): void {
  program
    .command('rm')
    .description('remove ended containers')
    .argument('<container...>')
    .option('-f, --force', 'end running ones')
    .action(async (references: string[], flags: { force?: boolean }) => {
      for (const reference of references) {
        await remove(context(), findContainer(context(), reference), flags.force === true);
        process.stdout.write(`${reference}\n`);
      }
    });
}

async function remove(context: CliContext, record: ContainerRecord, force: boolean): Promise<void> {
  const living = isAlive(record.shim);
  if (record.status !== 'stopped' && living && !force) {
    throw new TskataError(
      Code.FailedPrecondition,
      `rm ${record.id.slice(0, 12)}: it is ${record.status}; stop it first, or use --force`,
    );
  }
  if (living) {
    const task = await openTask(record);
    await task.end();
    task.close();
  }
  await removeContainerFiles(containerFiles(context, record.id));
}
