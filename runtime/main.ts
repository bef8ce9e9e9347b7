/** The `tskata` command: global flags, then one verb a file. It owns nothing that lives longer than itself. */
import { Command, CommanderError, Option } from 'commander';
import { makeContext } from './cli/context.ts';
import { EXIT_RUNTIME, report } from './cli/exit.ts';
import { VERBS } from './cli/verbs.ts';

declare const TSKATA_VERSION: string;

interface GlobalFlags {
  readonly root: string;
  readonly runRoot: string;
  readonly namespace: string;
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
  .addOption(new Option('--debug', 'say more, and show the guest console'))
  .addHelpText(
    'after',
    '\nExamples:\n  tskata run --rm -it busybox sh\n  tskata run -d --name web -p 8080:80 nginx\n  tskata logs -f web\n  tskata doctor',
  )
  .exitOverride();

const context = () => makeContext(program.opts<GlobalFlags>());
for (const register of VERBS) register(program, context);
// A wrong flag of any verb is told like every other error, with 125 for `run` and `exec`, as docker does.
for (const command of program.commands) command.exitOverride().configureOutput(program.configureOutput());

const verb = process.argv.slice(2).find((word) => !word.startsWith('-'));
const failureStatus = verb === 'run' || verb === 'exec' ? EXIT_RUNTIME : 1;
try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : failureStatus;
  else process.exitCode = report(error, failureStatus, program.opts<GlobalFlags>().debug === true);
}
