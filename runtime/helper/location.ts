/** Where the installed programs and the state lie. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { readlink, stat } from '../../agent/sys/calls.ts';
import { S } from '../../agent/sys/linux.ts';
import type { Sys } from '../../agent/sys/sys.ts';

const DEFAULT_RUN_ROOT = '/run/tskata';
const DEFAULT_LIB_ROOT = '/var/lib/tskata';

/** The directory of this binary: Node and the bundles lie beside it, whatever link it was called by. */
export function programDirectory(sys: Sys): string {
  const own = readlink(sys, '/proc/self/exe');
  return own.slice(0, own.lastIndexOf('/'));
}

/** Roots of state, from the environment of whoever starts us or the defaults. */
export function stateRoots(sys: Sys): { readonly runRoot: string; readonly libRoot: string } {
  return {
    runRoot: absolute('TSKATA_RUN_ROOT', environment(sys, 'TSKATA_RUN_ROOT') ?? DEFAULT_RUN_ROOT),
    libRoot: absolute('TSKATA_LIB_ROOT', environment(sys, 'TSKATA_LIB_ROOT') ?? DEFAULT_LIB_ROOT),
  };
}

/** A variable of our environment; an empty one counts as absent. */
export function environment(sys: Sys, name: string): string | undefined {
  const entry = sys.environ.find((item) => item.startsWith(`${name}=`));
  const value = entry?.slice(name.length + 1);
  return value === '' ? undefined : value;
}

/**
 * Variables that Node gets: its cache of compiled code, when only root can write there. Code in that cache is executed
 * without being compared to its source.
 */
export function nodeCacheVariables(sys: Sys, libRoot: string): string[] {
  try {
    const status = stat(sys, libRoot);
    const safe = (status.mode & S.IFMT) === S.IFDIR && status.uid === 0 && (status.mode & 0o022) === 0;
    return safe ? [`NODE_COMPILE_CACHE=${libRoot}/compile-cache`] : [];
  } catch {
    // There is no such directory yet: this start goes without.
    return [];
  }
}

function absolute(name: string, path: string): string {
  if (!path.startsWith('/'))
    throw new TskataError(Code.InvalidArgument, `read ${name}: ${path} is not an absolute path`);
  return path.length > 1 ? path.replace(/\/+$/, '') : path;
}
