/** `tskata logs`: what a container's first process wrote, also after its end. */
import { watch } from 'node:fs';
import { dirname } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { containerFiles } from './container-files.ts';
import type { CliContext, ContextSource } from './context.ts';
import { type LogEntry, LogReader } from './log-reader.ts';
import { findContainer } from './names.ts';

interface LogFlags {
  readonly follow?: boolean;
  readonly timestamps?: boolean;
  readonly tail: number;
}

/** A change that nobody told of is seen after this time at the latest. */
const RECHECK_MS = 1000;

export function register(program: Command, context: ContextSource): void {
  program
    .command('logs')
    .description('print what a container wrote')
    .argument('<container>')
    .option('-f, --follow', 'stay until it has ended')
    .option('-t, --timestamps', 'with times')
    .option('-n, --tail <lines>', 'only the last lines, or all', parseTail, Number.POSITIVE_INFINITY)
    .addHelpText('after', '\nExamples:\n  tskata logs -f web\n  tskata logs -t -n 100 web')
    .action(async (reference: string, flags: LogFlags) => logs(context(), reference, flags));
}

function parseTail(text: string): number {
  if (text === 'all') return Number.POSITIVE_INFINITY;
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('must be a number of lines, or all');
  return Number(text);
}

async function logs(context: CliContext, reference: string, flags: LogFlags): Promise<void> {
  const record = findContainer(context, reference);
  const file = containerFiles(context, record.id).logFile;
  const reader = new LogReader(file);
  try {
    await printTail(reader, flags);
    if (flags.follow) await follow(context, record.id, file, reader, flags);
  } finally {
    await reader.close();
  }
}

async function printTail(reader: LogReader, flags: LogFlags): Promise<void> {
  const kept: LogEntry[] = [];
  for await (const entry of reader.read()) {
    if (flags.tail === Number.POSITIVE_INFINITY) {
      print(entry, flags);
      continue;
    }
    kept.push(entry);
    if (kept.length > flags.tail) kept.shift();
  }
  for (const entry of kept) print(entry, flags);
}

function print(entry: LogEntry, flags: LogFlags): void {
  const stream = entry.stream === 'stderr' ? process.stderr : process.stdout;
  stream.write(flags.timestamps ? `${entry.time} ${entry.log}` : entry.log);
}

async function follow(
  context: CliContext,
  id: string,
  file: string,
  reader: LogReader,
  flags: LogFlags,
): Promise<void> {
  for (;;) {
    // Asked before the rest is read: what was written before the end is printed.
    const status = context.state.find(context.namespace, id)?.status;
    for await (const entry of reader.read()) print(entry, flags);
    if (status === undefined || status === 'stopped') return;
    await changed(file);
  }
}

/** Settles at the next change beside the log file, or after a while. */
function changed(file: string): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      watcher?.close();
      clearTimeout(timer);
      resolve();
    };
    let watcher: ReturnType<typeof watch> | undefined;
    try {
      watcher = watch(dirname(file), done);
      watcher.once('error', done);
    } catch {
      // The container is being removed: the next look at its record ends this.
    }
    const timer = setTimeout(done, RECHECK_MS);
  });
}
