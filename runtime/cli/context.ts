/** What every verb is given: where things lie and how the caller wants to be spoken to. No verb reads these itself. */
import { join, resolve } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { isValidName, StateStore } from '../state/store.ts';

/** Global flags, resolved. */
export interface CliContext {
  /** State that a reboot forgets: records, bundles, sockets. */
  readonly runRoot: string;
  /** State that stays: images, scratch templates, logs. */
  readonly libRoot: string;
  /** Directory of the installed programs and guest files. */
  readonly programs: string;
  readonly namespace: string;
  /** Configuration file that the caller named; empty: the host's own. */
  readonly configPath: string;
  readonly debug: boolean;
  readonly state: StateStore;
}

/** Resolved at the time of a verb's action, when the global flags are parsed. */
export type ContextSource = () => CliContext;

/**
 * Makes the context of parsed global flags.
 * @throws TskataError InvalidArgument naming the flag
 */
export function makeContext(flags: {
  root: string;
  runRoot: string;
  namespace: string;
  runtimeConfigPath?: string;
  debug?: boolean;
}): CliContext {
  if (!isValidName(flags.namespace)) {
    const message = `--namespace ${flags.namespace}: use letters, digits, '_', '.' and '-', not first a sign`;
    throw new TskataError(Code.InvalidArgument, message);
  }
  // Shims run elsewhere: what is relative here means something else there.
  const runRoot = resolve(flags.runRoot);
  return {
    runRoot,
    libRoot: resolve(flags.root),
    programs: import.meta.dirname,
    namespace: flags.namespace,
    configPath: flags.runtimeConfigPath === undefined ? '' : resolve(flags.runtimeConfigPath),
    debug: flags.debug === true,
    state: new StateStore(runRoot),
  };
}

/** Directory of the containers' logs and exit records below the lib root. */
export function containerDirectory(context: CliContext, id: string): string {
  return join(context.libRoot, 'containers', context.namespace, id);
}
