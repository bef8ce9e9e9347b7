/** Owns what the handlers of the contract's calls share. */
import type { Log } from '../boot/log.ts';
import type { Uevents } from '../boot/uevents.ts';
import type { LaunchTools } from '../container/launch.ts';
import type { Sandbox } from '../container/sandbox.ts';
import type { AcceptStream } from '../io/process-io.ts';

export interface ServiceContext {
  readonly tools: LaunchTools;
  readonly uevents: Uevents;
  readonly sandbox: Sandbox;
  readonly accept: AcceptStream;
  readonly log: Log;
  /** CLOCK_BOOTTIME at which main began. */
  readonly startedNs: bigint;
  /** The same when the ports were open, and CPU time of this process from main on; 0 before. */
  readonly ready: { readonly ns: bigint; readonly cpuNs: bigint };
}
