/**
 * Owns what a sandbox tells about itself, in the order in which it happened. Refuses to know topics and subscribers.
 */
import type { Container } from './container.ts';
import type { GuestProcess } from './process.ts';
import type { ProcessExit } from './status.ts';

/** One thing that happened. For one process `started` is always before `exited`, and that before `deleted`. */
export type SandboxEvent =
  | { readonly type: 'created'; readonly container: Container }
  | { readonly type: 'exec-added'; readonly container: Container; readonly process: GuestProcess }
  | { readonly type: 'started'; readonly container: Container; readonly process: GuestProcess }
  | { readonly type: 'oom'; readonly container: Container }
  | {
      readonly type: 'exited';
      readonly container: Container;
      readonly process: GuestProcess;
      readonly exit: ProcessExit;
    }
  | {
      readonly type: 'deleted';
      readonly container: Container;
      readonly process: GuestProcess;
      readonly exit: ProcessExit;
    }
  | { readonly type: 'paused'; readonly container: Container }
  | { readonly type: 'resumed'; readonly container: Container };

/** Called synchronously at the transition: must not throw and must not wait. */
export type SandboxListener = (event: SandboxEvent) => void;
