/**
 * The native host helper: one static binary with several modes, chosen by the name it is called by and by its first
 * argument. Each mode is one file; this one only chooses and reports.
 */
import { TskataError } from '../../agent/protocol/errors.ts';
import { writeAll } from '../../agent/sys/calls.ts';
import { engine, loop, sys } from '../../agent/sys/native.ts';
import { utf8 } from '../../agent/sys/structs.ts';
import { copySparse } from './copy-sparse.ts';
import { execCli } from './exec-cli.ts';
import { makeFifos } from './fifo.ts';
import { collectGarbage } from './gc.ts';
import { runLauncher } from './launcher.ts';
import { lendTerminal } from './lend-terminal.ts';
import { releaseNetwork } from './release-network.ts';
import { startSandbox } from './sandbox.ts';
import { relayVsock } from './vsock-relay.ts';

/** Plenty for a table of children and messages of 256 kB; a leak ends in an error, not in the host's memory. */
const MEMORY_LIMIT_BYTES = 64 << 20;

const STDOUT = 1;

/** Names of the links by which users and containerd call this binary. */
const CLI_NAME = 'tskata';
const SHIM_NAME = 'containerd-shim-tskata-v2';

function log(message: string): void {
  engine.print(`tskata-helper: ${message}\n`);
}

function fail(error: unknown): never {
  engine.print(`${TskataError.from(error).message}\n`);
  return sys.exit(1);
}

function main(): void {
  engine.setMemoryLimit(MEMORY_LIMIT_BYTES);
  const called = (sys.argv[0] ?? '').replace(/^.*\//, '');
  const [mode, ...args] = sys.argv.slice(1);
  if (called === CLI_NAME) execCli(sys);
  else if (called === SHIM_NAME) runLauncher(sys);
  else runMode(mode, args);
}

function runMode(mode: string | undefined, args: readonly string[]): void {
  switch (mode) {
    case 'sandbox':
      startSandbox(sys, loop, args, log);
      // A callback that throws is our mistake; the sandbox is safer gone than half served.
      loop.run(fail);
      return;
    case 'copy-sparse':
      copySparse(sys, args[0] ?? '', args[1] ?? '');
      return;
    case 'fifo':
      makeFifos(sys, args);
      return;
    case 'lend-terminal':
      lendTerminal(sys);
      return;
    case 'vsock-relay':
      relayVsock(sys, loop, Number(args[0]));
      loop.run(fail);
      return;
    case 'release-network':
      releaseNetwork(sys, args[0] ?? '');
      return;
    case 'gc':
      writeAll(sys, STDOUT, utf8(collectGarbage(sys, args[0] ?? '').join('')));
      return;
    default:
      log(`unknown mode ${JSON.stringify(mode ?? '')}`);
      sys.exit(64);
  }
}

try {
  main();
} catch (error) {
  fail(error);
}
