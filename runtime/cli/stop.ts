/** `tskata stop`: asks the program to end, waits, and ends it. */
import type { Command } from 'commander';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { STOP_SIGNAL, STOP_TIMEOUT } from '../oci/annotations.ts';
import type { ContainerRecord } from '../state/record.ts';
import type { ContextSource } from './context.ts';
import { parseSeconds } from './flags/container.ts';
import { findContainer } from './names.ts';
import { parseSignal } from './signals.ts';
import { openTask } from './task.ts';

const SIGKILL = 9;
const DEFAULT_TIMEOUT_S = 10;

export function register(program: Command, context: ContextSource): void {
  program
    .command('stop')
    .description('ask containers to end, and end those that do not')
    .argument('<container...>')
    .option('-t, --time <seconds>', 'how long to wait, instead of the --stop-timeout of run', parseSeconds)
    .action(async (references: string[], flags: { time?: number }) => {
      for (const reference of references) {
        await stop(findContainer(context(), reference), flags.time);
        process.stdout.write(`${reference}\n`);
      }
    });
}

/** Settles when the container has ended. A stopped one is fine. */
async function stop(record: ContainerRecord, timeoutS?: number): Promise<void> {
  if (record.status === 'stopped') return;
  const task = await openTask(record);
  try {
    const ended = task.wait('');
    ended.catch(() => undefined);
    const signal = parseSignal('--stop-signal', record.annotations[STOP_SIGNAL] ?? 'TERM');
    await task.kill(signal).catch(unlessEnded);
    const seconds = timeoutS ?? Number(record.annotations[STOP_TIMEOUT] ?? DEFAULT_TIMEOUT_S);
    const patience = new Promise<'late'>((resolve) => {
      setTimeout(() => resolve('late'), seconds * 1000).unref();
    });
    if ((await Promise.race([ended, patience])) === 'late') {
      await task.kill(SIGKILL, { all: true }).catch(unlessEnded);
      await ended;
    }
  } finally {
    task.close();
  }
}

/** It may end by itself at any moment. */
function unlessEnded(error: unknown): void {
  if (TskataError.from(error).code !== Code.NotFound) throw error;
}
