/**
 * Owns the closed sets of states, each carrying what exists in it: a machine cannot be touched in a state that has
 * none. Accessors check and say what was attempted.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Machine } from './machine.ts';

/** How a process ended. */
export interface ProcessExit {
  /** 0..255; 128 + n for signal n; 255 unknown. */
  readonly status: number;
  readonly at: Date;
  readonly oomKilled: boolean;
  /** Set when it was not the process's own doing. */
  readonly reason?: string;
}

/** A process: registered or held before exec, being started, running, ended. */
export type ProcessStatus =
  | { readonly name: 'created' }
  | { readonly name: 'starting' }
  | { readonly name: 'running' }
  | { readonly name: 'stopped'; readonly exit: ProcessExit };

/** A sandbox: no machine yet, one being made, one that runs, or why there is none any more. */
export type SandboxStatus =
  | { readonly name: 'empty' }
  | { readonly name: 'booting'; readonly machine: Promise<Machine> }
  | { readonly name: 'running'; readonly machine: Machine }
  | { readonly name: 'ended'; readonly reason: string };

/** The machine of a running sandbox. Throws Unavailable (ended) or FailedPrecondition (not yet). */
export function runningMachine(status: SandboxStatus, operation: string): Machine {
  switch (status.name) {
    case 'running':
      return status.machine;
    case 'ended':
      throw new TskataError(Code.Unavailable, `${operation}: the sandbox has ended: ${status.reason}`);
    case 'empty':
    case 'booting':
      throw new TskataError(Code.FailedPrecondition, `${operation}: the sandbox has no running machine yet`);
  }
}
