/** `tskata run`: an image, a directory or a bundle becomes a container in its own machine. */

import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { Scope } from '../../agent/protocol/scope.ts';
import { loadConfig } from '../config/load.ts';
import { containerFiles, createContainerFiles, removeContainerFiles } from './container-files.ts';
import type { CliContext, ContextSource } from './context.ts';
import { ExitWith, startFailureStatus } from './exit.ts';
import { addContainerFlags, parseSeconds } from './flags/container.ts';
import { showConsole } from './guest-console.ts';
import { Interrupted, Interruption } from './interruption.ts';
import { claimId, claimName } from './name-claim.ts';
import { newContainerId } from './names.ts';
import { makeFifos } from './native.ts';
import { ensureLibRoot, ensureRunRoot } from './roots.ts';
import { runAttached } from './run-attached.ts';
import type { GivenRunFlags, RunFlags } from './run-flags.ts';
import { type PreparedRun, prepareRun } from './run-source.ts';
import { parseSignal } from './signals.ts';
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
    .action(async (words: string[], flags: GivenRunFlags) => {
      if (flags.bundle !== undefined) refuseBesideBundle(command);
      await run(context(), words, flags);
    });
}

async function run(context: CliContext, words: readonly string[], given: GivenRunFlags): Promise<void> {
  // The shim reads it as well; a mistake in it is told here, before anything is fetched or made.
  const { config } = await loadConfig(context.configPath);
  // A bundle has the network that its config.json names, or none.
  const network = given.bundle === undefined ? config.network.default_network : 'none';
  const flags: RunFlags = { ...given, network: given.network ?? network };
  checkCombination(flags);
  await Promise.all([ensureRunRoot(context), ensureLibRoot(context)]);
  const claims = new Scope();
  try {
    if (flags.name !== undefined) claims.add(await claimName(context, flags.name));
    const id = newContainerId();
    claims.add(await claimId(context, id));
    await runClaimed(context, id, words, flags);
  } finally {
    await claims.close();
  }
}

async function runClaimed(context: CliContext, id: string, words: readonly string[], flags: RunFlags): Promise<void> {
  if (flags.cidfile !== undefined) await writeCidFile(flags.cidfile, id);
  const scope = new Scope();
  const interruption = new Interruption();
  try {
    const files = containerFiles(context, id);
    scope.add(() => removeContainerFiles(files));
    if (context.debug) scope.add(() => showConsole(files.runDirectory));
    const prepared = await interruption.guard(prepareRun(context, id, files, words, flags));
    scope.add(() => prepared.release());
    await createContainerFiles(files, prepared.spec);
    const task = await startTask(context, id, files.bundle);
    scope.add(() => task.close());
    scope.add(() => task.end());
    if (flags.detach) {
      await interruption.guard(detached(context, task, prepared, files.runDirectory, flags));
      // The shim goes on alone and cleans up by the annotation.
      scope.release();
      await prepared.release();
      task.close();
      process.stdout.write(`${id}\n`);
      return;
    }
    const status = await runAttached(context, task, prepared, files.runDirectory, flags, interruption);
    if (flags.rm !== true) {
      scope.release();
      await prepared.release();
      await task.end();
      task.close();
      if (context.debug) await showConsole(files.runDirectory);
    }
    if (status !== 0) throw new ExitWith(status);
  } catch (error) {
    // Without a container there is nothing for the file to name.
    if (flags.cidfile !== undefined && !(error instanceof ExitWith)) await rm(flags.cidfile, { force: true });
    throw explained(error);
  } finally {
    await scope.close();
    interruption.release();
  }
}

async function detached(
  context: CliContext,
  task: Task,
  prepared: PreparedRun,
  runDirectory: string,
  flags: RunFlags,
): Promise<void> {
  const terminal = prepared.spec.process?.terminal === true;
  // Input that nobody writes to, and that never ends: what -i means without a caller.
  const stdin = flags.interactive === true ? join(runDirectory, 'stdin') : '';
  if (stdin !== '') await makeFifos(context.programs, [stdin]);
  await task.create({ rootfs: prepared.rootfs, terminal, stdio: { stdin, stdout: '', stderr: '' } });
  await task.start('');
}

/** A program that cannot be started is 126 or 127, with its reason told here. */
function explained(caught: unknown): unknown {
  if (caught instanceof ExitWith || caught instanceof Interrupted) return caught;
  const error = TskataError.from(caught);
  const status = startFailureStatus(error);
  if (status === startFailureStatus(new TskataError(Code.Unknown, ''))) return error;
  process.stderr.write(`tskata: ${error.message}\n`);
  return new ExitWith(status);
}

/** What a bundle does not say about its container. */
const BESIDE_BUNDLE = new Set([
  'bundle',
  'name',
  'rm',
  'interactive',
  'tty',
  'detach',
  'cidfile',
  'stopSignal',
  'stopTimeout',
  'network',
  'publish',
  'dns',
]);

function refuseBesideBundle(command: Command): void {
  for (const option of command.options) {
    const name = option.attributeName();
    if (BESIDE_BUNDLE.has(name) || command.getOptionValueSource(name) !== 'cli') continue;
    const why = 'a bundle says that itself; change its config.json';
    throw new TskataError(Code.InvalidArgument, `${option.long ?? name} with --bundle: ${why}`);
  }
}

function checkCombination(flags: RunFlags): void {
  const refuse = (why: string): never => {
    throw new TskataError(Code.InvalidArgument, why);
  };
  if (flags.rootfs !== undefined && flags.bundle !== undefined) refuse('--rootfs and --bundle exclude each other');
  if (flags.tty && flags.interactive && !flags.detach && !process.stdin.isTTY)
    refuse('--tty with --interactive needs a terminal as standard input');
  if (flags.stopSignal !== undefined) parseSignal('--stop-signal', flags.stopSignal);
}

async function writeCidFile(file: string, id: string): Promise<void> {
  try {
    await writeFile(file, id, { flag: 'wx' });
  } catch (error) {
    throw new TskataError(Code.InvalidArgument, `--cidfile ${file}: ${(error as Error).message}`);
  }
}
