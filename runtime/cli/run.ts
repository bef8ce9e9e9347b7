/** `tskata run`: an image, a directory or a bundle becomes a container in its own machine. */

import { writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { Scope } from '../../agent/protocol/scope.ts';
import { attachAndStart } from './attach.ts';
import { containerFiles, createContainerFiles, removeContainerFiles } from './container-files.ts';
import type { CliContext, ContextSource } from './context.ts';
import { ExitWith, startFailureStatus } from './exit.ts';
import { addContainerFlags, parseSeconds } from './flags/container.ts';
import { checkName, newContainerId } from './names.ts';
import type { RunFlags } from './run-flags.ts';
import { type PreparedRun, prepareRun } from './run-source.ts';
import { Stdio } from './stdio.ts';
import { sweep } from './sweep.ts';
import { startTask, type Task } from './task.ts';

const EXAMPLES = `
Examples:
  tskata run --rm busybox echo hello
  tskata run --rm -it -v "$PWD":/src -w /src debian bash
  tskata run -d --name web -p 8080:80 -m 256m nginx
  tskata run --rm --rootfs /srv/tree --read-only /bin/sh -c 'id'`;

export function register(program: Command, context: ContextSource): void {
  const command = program
    .command('run')
    .description('run a container in its own virtual machine')
    .usage('[options] IMAGE [COMMAND [ARG...]]')
    .argument('[image-or-command...]')
    .passThroughOptions()
    .option('--rm', 'remove the container when it has ended')
    .option('-i, --interactive', 'connect standard input')
    .option('-t, --tty', 'give it a terminal')
    .option('-d, --detach', 'leave it running, print its id')
    .option('--cidfile <file>', 'write the id to a file that does not exist yet')
    .option('--stop-signal <signal>', "what `stop` sends, instead of the image's")
    .addOption(
      new Option('--stop-timeout <seconds>', 'how long `stop` waits before it kills')
        .default(10)
        .argParser(parseSeconds),
    )
    .addOption(new Option('--pull <when>', 'pull the image').choices(['missing', 'always', 'never']).default('missing'))
    .option('--storage <size>', 'size of the writable disk', '10g')
    .option('--rootfs <dir>', 'a directory of the host as the root, instead of an image')
    .option('--bundle <dir>', 'an OCI bundle, instead of an image and flags');
  addContainerFlags(command)
    .addHelpText('after', EXAMPLES)
    .action(async (words: string[], flags: RunFlags) => run(context(), words, flags));
}

async function run(context: CliContext, words: readonly string[], flags: RunFlags): Promise<void> {
  checkCombination(flags);
  await sweep(context);
  if (flags.name !== undefined) checkName(context, flags.name);
  const id = newContainerId();
  if (flags.cidfile !== undefined) await writeCidFile(flags.cidfile, id);
  const scope = new Scope();
  try {
    const files = containerFiles(context, id);
    scope.add(() => removeContainerFiles(files));
    const prepared = await prepareRun(context, id, files, words, flags);
    scope.add(() => prepared.release());
    await createContainerFiles(files, prepared.spec);
    const task = await startTask(context, id, files.bundle);
    scope.add(() => task.close());
    scope.add(() => task.end());
    const status = await (flags.detach
      ? detached(task, prepared)
      : attached(context, task, prepared, files.runDirectory, flags));
    if (flags.detach) {
      // The shim goes on alone and cleans up by the annotation.
      scope.release();
      await prepared.release();
      task.close();
      process.stdout.write(`${id}\n`);
    } else if (flags.rm !== true) {
      scope.release();
      await prepared.release();
      await task.end();
      task.close();
    }
    if (status !== 0) throw new ExitWith(status);
  } finally {
    await scope.close();
  }
}

async function attached(
  context: CliContext,
  task: Task,
  prepared: PreparedRun,
  directory: string,
  flags: RunFlags,
): Promise<number> {
  const terminal = prepared.spec.process?.terminal === true;
  const interactive = flags.interactive === true;
  const stdio = await Stdio.create(context.programs, join(directory, 'stdio'), { stdin: interactive, terminal });
  try {
    stdio.copyOutput(process.stdout, process.stderr);
    await task.create({ rootfs: prepared.rootfs, terminal, stdio: stdio.paths });
    return await attachAndStart({ task, execId: '', stdio, terminal, interactive });
  } catch (error) {
    throw explained(error);
  } finally {
    await stdio.remove();
  }
}

async function detached(task: Task, prepared: PreparedRun): Promise<number> {
  try {
    const terminal = prepared.spec.process?.terminal === true;
    await task.create({ rootfs: prepared.rootfs, terminal, stdio: { stdin: '', stdout: '', stderr: '' } });
    await task.start('');
    return 0;
  } catch (error) {
    throw explained(error);
  }
}

/** A program that cannot be started is 126 or 127, with its reason told here. */
function explained(caught: unknown): unknown {
  const error = TskataError.from(caught);
  const status = startFailureStatus(error);
  if (status === startFailureStatus(new TskataError(Code.Unknown, ''))) return error;
  process.stderr.write(`tskata: ${error.message}\n`);
  return new ExitWith(status);
}

function checkCombination(flags: RunFlags): void {
  const refuse = (why: string): never => {
    throw new TskataError(Code.InvalidArgument, why);
  };
  if (flags.rootfs !== undefined && flags.bundle !== undefined) refuse('--rootfs and --bundle exclude each other');
  if (flags.detach && flags.interactive) refuse('--detach and --interactive exclude each other');
  if (flags.tty && flags.interactive && !process.stdin.isTTY)
    refuse('--tty with --interactive needs a terminal as standard input');
  if (
    flags.stopSignal !== undefined &&
    !(flags.stopSignal.replace(/^(SIG)?/, 'SIG') in constants.signals) &&
    !/^\d+$/.test(flags.stopSignal)
  ) {
    refuse(`--stop-signal ${flags.stopSignal}: not a signal`);
  }
}

async function writeCidFile(file: string, id: string): Promise<void> {
  try {
    await writeFile(file, id, { flag: 'wx' });
  } catch (error) {
    throw new TskataError(Code.InvalidArgument, `--cidfile ${file}: ${(error as Error).message}`);
  }
}
