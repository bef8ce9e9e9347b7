/** `tskata logs`: what a container's first process wrote, also after its end. */
import { createReadStream, existsSync, watch } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { containerFiles } from './container-files.ts';
import type { CliContext, ContextSource } from './context.ts';
import { findContainer } from './names.ts';

interface LogFlags {
  readonly follow?: boolean;
  readonly timestamps?: boolean;
  readonly tail?: string;
}

/** One line of the log file. */
interface Entry {
  readonly time: string;
  readonly stream: 'stdout' | 'stderr';
  readonly log: string;
}

/** A rotation that nobody told of is seen after this time at the latest. */
const RECHECK_MS = 1000;

export function register(program: Command, context: ContextSource): void {
  program
    .command('logs')
    .description('print what a container wrote')
    .argument('<container>')
    .option('-f, --follow', 'stay until it has ended')
    .option('-t, --timestamps', 'with times')
    .option('-n, --tail <lines>', 'only the last lines')
    .action(async (reference: string, flags: LogFlags) => logs(context(), reference, flags));
}

async function logs(context: CliContext, reference: string, flags: LogFlags): Promise<void> {
  const record = findContainer(context, reference);
  const file = containerFiles(context, record.id).logFile;
  const entries: Entry[] = [];
  const keep = flags.tail === undefined ? Number.POSITIVE_INFINITY : Number(flags.tail);
  let offset = 0;
  for (const path of [`${file}.1`, file]) {
    if (!existsSync(path)) continue;
    offset = await readEntries(path, 0, (entry) => {
      entries.push(entry);
      if (entries.length > keep) entries.shift();
      if (keep === Number.POSITIVE_INFINITY) print(entries.splice(0), flags);
    });
  }
  print(entries, flags);
  if (flags.follow) await follow(context, record.id, file, offset, flags);
}

function print(entries: readonly Entry[], flags: LogFlags): void {
  for (const entry of entries) {
    const stream = entry.stream === 'stderr' ? process.stderr : process.stdout;
    stream.write(flags.timestamps ? `${entry.time} ${entry.log}` : entry.log);
  }
}

/** Hands on every whole line from `offset` on; returns the offset after the last. */
async function readEntries(path: string, offset: number, take: (entry: Entry) => void): Promise<number> {
  let position = offset;
  const lines = createInterface({
    input: createReadStream(path, { start: offset }),
    crlfDelay: Number.POSITIVE_INFINITY,
  });
  for await (const line of lines) {
    const entry = parseEntry(line);
    // A last line that is still being written is read again from its beginning.
    if (!entry) break;
    position += Buffer.byteLength(line) + 1;
    take(entry);
  }
  return position;
}

function parseEntry(line: string): Entry | undefined {
  try {
    return JSON.parse(line) as Entry;
  } catch {
    return undefined;
  }
}

async function follow(context: CliContext, id: string, file: string, start: number, flags: LogFlags): Promise<void> {
  let offset = start;
  for (;;) {
    const ended = context.state.find(context.namespace, id)?.status;
    offset = await readEntries(file, offset, (entry) => print([entry], flags)).catch(() => 0);
    if (ended === undefined || ended === 'stopped') return;
    await changed(file);
  }
}

/** Settles at the next change beside the log file, or after a while. */
function changed(file: string): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      watcher.close();
      clearTimeout(timer);
      resolve();
    };
    const watcher = watch(dirname(file), done);
    const timer = setTimeout(done, RECHECK_MS);
  });
}
