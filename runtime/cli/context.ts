/** What every verb is given: where things lie and how the caller wants to be spoken to. No verb reads these itself. */
import { join } from 'node:path';
import { StateStore } from '../state/store.ts';

/** Global flags, resolved. */
export interface CliContext {
  /** State that a reboot forgets: records, bundles, sockets. */
  readonly runRoot: string;
  /** State that stays: images, scratch templates, logs. */
  readonly libRoot: string;
  /** Directory of the installed programs and guest files. */
  readonly programs: string;
  readonly namespace: string;
  readonly debug: boolean;
  readonly state: StateStore;
}

/** Resolved at the time of a verb's action, when the global flags are parsed. */
export type ContextSource = () => CliContext;

/** Makes the context of parsed global flags. */
export function makeContext(flags: { root: string; runRoot: string; namespace: string; debug?: boolean }): CliContext {
  return {
    runRoot: flags.runRoot,
    libRoot: flags.root,
    programs: import.meta.dirname,
    namespace: flags.namespace,
    debug: flags.debug === true,
    state: new StateStore(flags.runRoot),
  };
}

/** Directory of the containers' logs and exit records below the lib root. */
export function containerDirectory(context: CliContext, id: string): string {
  return join(context.libRoot, 'containers', context.namespace, id);
}
