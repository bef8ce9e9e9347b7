/**
 * Called as `tskata`: becomes Node with the command line's bundle. No variable that steers Node (NODE_OPTIONS,
 * NODE_PATH, ...) is passed on: what runs as root must not load what its caller's shell was set up for.
 */
import { check } from '../../agent/sys/errors.ts';
import { utf8, words64 } from '../../agent/sys/structs.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import { nodeCacheVariables, programDirectory, stateRoots } from './location.ts';

/** Replaces this process. Returns only by throwing. */
export function execCli(sys: Sys): void {
  const directory = programDirectory(sys);
  const node = `${directory}/node`;
  const env = [
    ...sys.environ.filter((entry) => !entry.startsWith('NODE_')),
    ...nodeCacheVariables(sys, stateRoots(sys).libRoot),
  ];
  const argv = pointers(sys, ['tskata', `${directory}/tskata.js`, ...sys.argv.slice(1)]);
  const environment = pointers(sys, env);
  check(sys.call(SYS.execve, node, argv.table, environment.table), 'execute', node);
}

/** A NULL-terminated array of C strings; `strings` must stay referenced as long as `table` is used. */
function pointers(sys: Sys, values: readonly string[]): { table: Uint8Array; strings: Uint8Array[] } {
  const strings = values.map((value) => utf8(`${value}\0`));
  return { table: words64(...strings.map((bytes) => sys.address(bytes)), 0), strings };
}
