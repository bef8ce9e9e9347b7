/**
 * Owns what a sandbox tells about itself, in the order in which it happened. Refuses to know topics and subscribers.
 */
import type { Spec } from '../oci/spec.ts';
import type { RootfsMount } from '../storage/plan.ts';
import type { StdioPaths } from './process-io.ts';
import type { ProcessExit } from './status.ts';

/** What an event shows of a process. */
interface ProcessView {
  /** Empty for the init. */
  readonly execId: string;
  readonly pid: number;
  readonly stdio: StdioPaths;
}

/** What an event shows of a container. */
export interface ContainerView {
  readonly id: string;
  readonly bundle: string;
  readonly spec: Spec;
  readonly rootfs: readonly RootfsMount[];
  readonly init: ProcessView;
  /** Host process number of the machine's QEMU. */
  readonly machinePid: number;
}

/** One thing that happened. For one process `started` is always before `exited`, and that before `deleted`. */
export type SandboxEvent =
  | { readonly type: 'created'; readonly container: ContainerView }
  | { readonly type: 'exec-added'; readonly container: ContainerView; readonly process: ProcessView }
  | { readonly type: 'started'; readonly container: ContainerView; readonly process: ProcessView }
  | { readonly type: 'oom'; readonly container: ContainerView }
  | {
      readonly type: 'exited';
      readonly container: ContainerView;
      readonly process: ProcessView;
      readonly exit: ProcessExit;
    }
  | {
      readonly type: 'deleted';
      readonly container: ContainerView;
      readonly process: ProcessView;
      readonly exit: ProcessExit;
    }
  | { readonly type: 'paused'; readonly container: ContainerView }
  | { readonly type: 'resumed'; readonly container: ContainerView };

/** Called synchronously at the transition: must not throw and must not wait. */
export type SandboxListener = (event: SandboxEvent) => void;
