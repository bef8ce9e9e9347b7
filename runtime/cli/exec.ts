/** `tskata exec`: one more process in a running container. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Command } from 'commander';
import { CAPABILITIES } from '../../agent/protocol/capabilities.ts';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { readBundle } from '../oci/bundle.ts';
import type { SpecProcess } from '../oci/spec.ts';
import { attachAndStart } from './attach.ts';
import type { CliContext, ContextSource } from './context.ts';
import { ExitWith, startFailureStatus } from './exit.ts';
import { parseEnvironment, readEnvironmentFile } from './flags/environment.ts';
import { findContainer } from './names.ts';
import { Stdio } from './stdio.ts';
import { openTask, type Task } from './task.ts';
import { terminalSize } from './terminal.ts';

interface ExecFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly detach?: boolean;
  readonly env: string[];
  readonly envFile: string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly privileged?: boolean;
}

const NO_STDIO = { stdin: '', stdout: '', stderr: '' };
const EXEC_ID_BYTES = 16;

export function register(program: Command, context: ContextSource): void {
  const collect = (value: string, previous: string[]): string[] => [...previous, value];
  program
    .command('exec')
    .description('run one more program in a running container')
    .usage('[options] CONTAINER COMMAND [ARG...]')
    .argument('<container>')
    .argument('<command...>')
    .passThroughOptions()
    .option('-i, --interactive', 'connect standard input')
    .option('-t, --tty', 'give it a terminal')
    .option('-d, --detach', 'do not wait for its end')
    .option('-e, --env <NAME=value>', "environment, beside the container's", collect, [])
    .option('--env-file <file>', 'environment from a file', collect, [])
    .option('-w, --workdir <dir>', 'directory that it starts in')
    .option('-u, --user <user[:group]>', 'names or numbers, looked up in the container')
    .option('--privileged', 'every capability of the guest')
    .addHelpText('after', '\nExamples:\n  tskata exec -it web sh\n  tskata exec -u nobody -w /tmp web id')
    .action(async (reference: string, command: string[], flags: ExecFlags) =>
      exec(context(), reference, command, flags),
    );
}

async function exec(
  context: CliContext,
  reference: string,
  command: readonly string[],
  flags: ExecFlags,
): Promise<void> {
  const record = findContainer(context, reference);
  if (record.status !== 'running') {
    throw new TskataError(
      Code.FailedPrecondition,
      `exec in ${reference}: the container is ${record.status}, not running`,
    );
  }
  const { spec } = await readBundle(record.bundle);
  const task = await openTask(record);
  try {
    const process = processOf(spec.process, command, flags);
    const status = await runExec(context, task, process, flags);
    if (status !== 0) throw new ExitWith(status);
  } finally {
    task.close();
  }
}

/** The container's own process section with what was asked for on top. */
function processOf(own: SpecProcess | undefined, command: readonly string[], flags: ExecFlags): SpecProcess {
  const size = terminalSize(process.stdout);
  const added = [
    ...flags.envFile.flatMap((file) => readEnvironmentFile('--env-file', file, process.env)),
    ...parseEnvironment('--env', flags.env, process.env),
    ...(flags.tty ? ['TERM=xterm'] : []),
  ];
  const env = new Map([...(own?.env ?? []), ...added].map((entry) => [entry.slice(0, entry.indexOf('=')), entry]));
  const all = [...CAPABILITIES];
  return {
    ...own,
    user: flags.user === undefined ? (own?.user ?? { uid: 0, gid: 0 }) : { uid: 0, gid: 0, username: flags.user },
    args: [...command],
    env: [...env.values()],
    cwd: flags.workdir ?? own?.cwd ?? '/',
    terminal: flags.tty === true,
    ...(flags.tty ? { consoleSize: { height: size.rows, width: size.columns } } : {}),
    ...(flags.privileged ? { capabilities: { bounding: all, effective: all, permitted: all } } : {}),
  };
}

async function runExec(context: CliContext, task: Task, process: SpecProcess, flags: ExecFlags): Promise<number> {
  const execId = randomBytes(EXEC_ID_BYTES).toString('hex');
  const terminal = flags.tty === true;
  if (flags.detach) {
    await task.exec(execId, process, terminal, NO_STDIO);
    await task.start(execId).catch(failStart);
    return 0;
  }
  const interactive = flags.interactive === true;
  const directory = join(context.runRoot, context.namespace, task.id, `exec-${execId}`);
  const stdio = await Stdio.create(context.programs, directory, { stdin: interactive, terminal });
  try {
    stdio.copyOutput(globalThis.process.stdout, globalThis.process.stderr);
    await task.exec(execId, process, terminal, stdio.paths);
    const status = await attachAndStart({
      programs: context.programs,
      task,
      execId,
      stdio,
      terminal,
      interactive,
    }).catch(failStart);
    return status;
  } finally {
    await task.deleteExec(execId).catch(() => undefined);
    await stdio.remove();
  }
}

/** A program that cannot be started is 126 or 127. */
function failStart(caught: unknown): never {
  const error = TskataError.from(caught);
  process.stderr.write(`tskata: ${error.message}\n`);
  throw new ExitWith(startFailureStatus(error));
}
