/** `tskata list` and `tskata state`: what containers there are, for people and for programs. */
import type { Command } from 'commander';
import { isAlive } from '../state/process-ref.ts';
import type { ContainerRecord } from '../state/record.ts';
import type { CliContext, ContextSource } from './context.ts';
import { findContainer, nameOf, records } from './names.ts';
import { printTable } from './table.ts';

const SHORT_ID = 12;

export function register(program: Command, context: ContextSource): void {
  program
    .command('list')
    .alias('ps')
    .description('list containers, ended ones too')
    .option('-q, --quiet', 'ids only')
    .option('--json', 'for programs')
    .action((flags: { quiet?: boolean; json?: boolean }) => {
      list(context(), flags);
    });
  program
    .command('state')
    .description('print the state of a container (OCI runtime spec, "State")')
    .argument('<container>')
    .action((reference: string) => {
      process.stdout.write(`${JSON.stringify(ociState(findContainer(context(), reference)), null, 2)}\n`);
    });
}

/** What the record says, corrected by what is true: without its shim nothing of a container runs. */
function statusOf(record: ContainerRecord): string {
  return record.status === 'stopped' || isAlive(record.shim) ? record.status : 'lost';
}

function list(context: CliContext, flags: { quiet?: boolean; json?: boolean }): void {
  const found = records(context).toSorted((left, right) => left.createdAt.localeCompare(right.createdAt));
  if (flags.json) {
    const rows = found.map((record) => ({
      id: record.id,
      name: nameOf(record),
      status: statusOf(record),
      pid: record.pid ?? 0,
      createdAt: record.createdAt,
      ...exitOf(record),
    }));
    process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  } else if (flags.quiet) {
    for (const record of found) process.stdout.write(`${record.id}\n`);
  } else {
    printTable(
      ['ID', 'NAME', 'STATUS', 'CREATED'],
      found.map((record) => [
        record.id.slice(0, SHORT_ID),
        nameOf(record),
        record.exit ? `${statusOf(record)} (${record.exit.status})` : statusOf(record),
        record.createdAt.replace('T', ' ').replace(/\..*/, ''),
      ]),
    );
  }
}

/** How it ended, when it has. */
function exitOf(record: ContainerRecord): object {
  if (record.exit === undefined) return {};
  const { status, at, oomKilled, reason } = record.exit;
  return { exitStatus: status, exitedAt: at, oomKilled, ...(reason === undefined ? {} : { reason }) };
}

function ociState(record: ContainerRecord): object {
  const status = statusOf(record);
  return {
    ociVersion: '1.1.0',
    id: record.id,
    status: status === 'lost' ? 'stopped' : status,
    ...(status === 'stopped' || status === 'lost' || record.pid === undefined ? {} : { pid: record.pid }),
    bundle: record.bundle,
    annotations: record.annotations,
    ...exitOf(record),
  };
}
