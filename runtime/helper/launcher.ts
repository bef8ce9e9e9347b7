/**
 * Called as `containerd-shim-tskata-v2`: what containerd runs to have a shim started (`start`), to clean up after one
 * (`delete`), and to ask what this is (`-v`, `-info`). All that is written belongs to the answer, because containerd
 * reads standard output and standard error together.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { writeAll } from '../../agent/sys/calls.ts';
import { concat, utf8 } from '../../agent/sys/structs.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { readBootstrap } from './bootstrap.ts';
import { deleteShim } from './delete-shim.ts';
import { parseGoFlags } from './go-flags.ts';
import { stateRoots } from './location.ts';
import { startShim } from './start-shim.ts';

declare const TSKATA_VERSION: string;

const RUNTIME_NAME = 'io.containerd.tskata.v2';
const STDOUT = 1;

/** containerd's names: letters and digits with single separators, and a length that fits everywhere. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** Runs one command and returns; errors are thrown. */
export function runLauncher(sys: Sys): void {
  const { strings, booleans, rest } = parseGoFlags(
    sys.argv.slice(1),
    ['namespace', 'address', 'publish-binary', 'id', 'bundle', 'socket', 'caller', 'config'],
    ['debug', 'v', 'info'],
  );
  if (booleans.v) {
    print(sys, utf8(`containerd-shim-tskata-v2:\n  Version: ${TSKATA_VERSION}\n`));
    return;
  }
  if (booleans.info) {
    print(sys, runtimeInfo());
    return;
  }
  const [command, ...others] = rest;
  if (others.length > 0)
    throw new TskataError(Code.InvalidArgument, `shim: unexpected argument ${JSON.stringify(others[0])}`);
  const target = {
    ...stateRoots(sys),
    namespace: requireName('namespace', strings.namespace),
    id: requireName('id', strings.id),
    containerdAddress: strings.address,
    publishBinary: strings['publish-binary'],
    caller: readCaller(strings.caller),
    configPath: strings.config,
    debug: booleans.debug,
  };
  if (command === 'start') print(sys, utf8(startShim(sys, target, readBootstrap(sys))));
  else if (command === 'delete') print(sys, deleteShim(sys, target, strings.bundle));
  else throw new TskataError(Code.InvalidArgument, `shim: unknown command ${JSON.stringify(command ?? '')}`);
}

function requireName(flag: string, value: string): string {
  if (!NAME.test(value)) {
    throw new TskataError(Code.InvalidArgument, `shim: flag -${flag}: ${JSON.stringify(value)} is not a valid name`);
  }
  return value;
}

/** containerd says nothing; only the `tskata` command says that a bundle is its own. */
function readCaller(value: string): 'command' | 'containerd' {
  if (value === '') return 'containerd';
  if (value === 'command') return value;
  throw new TskataError(Code.InvalidArgument, `shim: flag -caller: ${JSON.stringify(value)} is not "command"`);
}

function print(sys: Sys, bytes: Uint8Array): void {
  writeAll(sys, STDOUT, bytes, 'standard output');
}

/** containerd.runtime.v2 RuntimeInfo {name = 1, version = 2 {version = 1}}. */
function runtimeInfo(): Uint8Array {
  return concat([lengthDelimited(1, utf8(RUNTIME_NAME)), lengthDelimited(2, lengthDelimited(1, utf8(TSKATA_VERSION)))]);
}

/** A field of wire type 2 whose body is shorter than 128 bytes. */
function lengthDelimited(field: number, body: Uint8Array): Uint8Array {
  return concat([new Uint8Array([(field << 3) | 2, body.length]), body]);
}
