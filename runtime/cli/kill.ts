/** `tskata kill`: sends a signal, nothing more. */
import type { Command } from 'commander';
import type { ContextSource } from './context.ts';
import { findContainer } from './names.ts';
import { parseSignal } from './signals.ts';
import { openTask } from './task.ts';

export function register(program: Command, context: ContextSource): void {
  program
    .command('kill')
    .description('send a signal to containers')
    .argument('<container...>')
    .option('-s, --signal <signal>', 'name or number', 'KILL')
    .option('-a, --all', 'to every process of the container, not only its first')
    .action(async (references: string[], flags: { signal: string; all?: boolean }) => {
      const signal = parseSignal('--signal', flags.signal);
      for (const reference of references) {
        const task = await openTask(findContainer(context(), reference));
        try {
          await task.kill(signal, { all: flags.all === true });
        } finally {
          task.close();
        }
        process.stdout.write(`${reference}\n`);
      }
    });
}
