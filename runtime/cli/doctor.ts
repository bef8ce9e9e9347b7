/**
 * `tskata doctor`: what this host can do, check by check, each problem with its cure. It prints; what is checked and how
 * is in runtime/qemu/doctor.ts.
 */
import type { Command } from 'commander';
import { TskataError } from '../../agent/protocol/errors.ts';
import { loadConfig } from '../config/load.ts';
import { parseConfig } from '../config/parse.ts';
import type { Config } from '../config/schema.ts';
import { type Check, examineHost } from '../qemu/doctor.ts';
import type { CliContext, ContextSource } from './context.ts';
import { ExitWith } from './exit.ts';
import { printTable } from './table.ts';

const MARKS = { ok: 'ok', note: 'note', problem: 'PROBLEM' } as const;

/** Adds the verb. */
export function register(program: Command, context: ContextSource): void {
  program
    .command('doctor')
    .description('say what this host can do, and the cure of each problem')
    .option('--json', 'for programs')
    .addHelpText(
      'after',
      '\nExit status: 0 when containers can run here (also by translation), 1 when something is missing.',
    )
    .addHelpText('after', '\nExamples:\n  tskata doctor\n  tskata doctor --json | jq -r .accelerator')
    .action(async (flags: { json?: boolean }) => examine(context(), flags.json === true));
}

async function examine(context: CliContext, json: boolean): Promise<void> {
  const { config, check } = await examineConfiguration(context);
  const { machine, jail } = config;
  const { accelerator, checks: ofHost } = await examineHost({
    runRoot: context.runRoot,
    libRoot: context.libRoot,
    programs: context.programs,
    config: {
      ...(machine.accelerator === 'auto' ? {} : { accelerator: machine.accelerator }),
      kernel: machine.kernel,
      initrd: machine.initrd,
      users: { first: jail.first_uid, count: jail.uid_count },
    },
  });
  const checks = [...ofHost, check];
  const problems = checks.filter((check) => check.state === 'problem');
  if (json) {
    const report = {
      ok: problems.length === 0,
      accelerator: accelerator?.name ?? null,
      reason: accelerator?.reason,
      checks,
    };
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  } else {
    printTable(['CHECK', 'STATE', 'FACT'], checks.map(row));
    printCures(checks);
    const choice = accelerator === undefined ? 'none' : accelerator.reason;
    process.stdout.write(`\naccelerator: ${choice}\n`);
  }
  if (problems.length > 0) throw new ExitWith(1);
}

/** With a broken file the rest of the host is examined by the defaults. */
async function examineConfiguration({ configPath }: CliContext): Promise<{ config: Config; check: Check }> {
  const name = 'configuration';
  try {
    const { config, path, files } = await loadConfig(configPath);
    const fact = files.length === 0 ? `no ${path}: defaults` : files.join(', ');
    return { config, check: { name, state: 'ok', fact } };
  } catch (error) {
    const cure = 'mend the file; until then nothing can be started';
    return { config: parseConfig([]), check: { name, state: 'problem', fact: TskataError.from(error).message, cure } };
  }
}

function row(check: Check): string[] {
  return [check.name, MARKS[check.state], check.fact];
}

function printCures(checks: readonly Check[]): void {
  const cures = checks.filter((check) => check.cure !== undefined);
  if (cures.length === 0) return;
  process.stdout.write('\nwhat to do:\n');
  for (const { name, cure } of cures) process.stdout.write(`  ${name}: ${cure}\n`);
}
