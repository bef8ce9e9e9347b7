/** The `tskata` command: global flags, then one verb a file. It owns nothing that lives longer than itself. */
import { Command, CommanderError, Option } from 'commander';
import { makeContext } from './cli/context.ts';
import { EXIT_CLOSED_PIPE, EXIT_RUNTIME, report } from './cli/exit.ts';
import { Interrupted } from './cli/interruption.ts';
import { sweep } from './cli/sweep.ts';
import { VERBS } from './cli/verbs.ts';

declare const TSKATA_VERSION: string;

interface GlobalFlags {
  readonly root: string;
  readonly runRoot: string;
  readonly namespace: string;
  readonly runtimeConfigPath?: string;
  readonly debug?: boolean;
}

const program = new Command('tskata')
  .description('Runs every container in its own minimal virtual machine.')
  .version(`tskata ${TSKATA_VERSION}`, '-V, --version', 'print the version')
  .enablePositionalOptions()
  .showSuggestionAfterError()
  .configureHelp({ showGlobalOptions: false, sortSubcommands: false })
  .addOption(
    new Option('--root <dir>', 'images and other lasting state').default('/var/lib/tskata').env('TSKATA_LIB_ROOT'),
  )
  .addOption(
    new Option('--run-root <dir>', 'state that a reboot forgets').default('/run/tskata').env('TSKATA_RUN_ROOT'),
  )
  .addOption(new Option('--namespace <name>', 'name space of containers').default('default').env('TSKATA_NAMESPACE'))
  .addOption(
    new Option('--runtime-config-path <file>', 'configuration instead of /etc/tskata/config.toml').env('TSKATA_CONFIG'),
  )
  .addOption(new Option('--debug', 'say more; `run` shows the guest console at its end'))
  .addHelpText(
    'after',
    '\nExamples:\n  tskata run --rm -it busybox sh\n  tskata run -d --name web -p 8080:80 nginx\n  tskata logs -f web\n  tskata doctor',
  )
  .exitOverride();

const context = () => makeContext(program.opts<GlobalFlags>());
for (const register of VERBS) register(program, context);

/** What a failure of tskata's own ends with: 125 for `run` and `exec`, as docker has it. */
let failureStatus = 1;
function chose(verb: string): void {
  failureStatus = verb === 'run' || verb === 'exec' ? EXIT_RUNTIME : 1;
}
// A wrong flag of any verb is told like every other error.
program.configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'tskata: ')) });
for (const command of program.commands) {
  command
    .configureOutput(program.configureOutput())
    .showHelpAfterError(`see 'tskata ${command.name()} --help'`)
    .exitOverride((error) => {
      chose(command.name());
      throw error;
    });
}
// Output that cannot be written ends a verb that only prints; `run` and `exec` end their process first.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    const closed = error.code === 'EPIPE';
    if (!closed && stream === process.stdout) process.stderr.write(`tskata: write standard output: ${error.message}\n`);
    if (failureStatus !== EXIT_RUNTIME) process.exit(closed ? EXIT_CLOSED_PIPE : failureStatus);
  });
}
// What a crash left goes with the next command; `gc` tells what it does itself, `doctor` changes nothing.
program.hook('preAction', async (_, action) => {
  chose(action.name());
  if (action.name() !== 'gc' && action.name() !== 'doctor') await sweep(context());
});

try {
  await program.parseAsync();
} catch (error) {
  // A pull or boot may still be under way: nobody waits for it any more.
  if (error instanceof Interrupted) process.exit(error.status);
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : failureStatus;
  else process.exitCode = report(error, failureStatus, program.opts<GlobalFlags>().debug === true);
}
