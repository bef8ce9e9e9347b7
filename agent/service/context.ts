/** Owns what the handlers of the contract's calls share. */
import type { Log } from '../boot/log.ts';
import type { Uevents } from '../boot/uevents.ts';
import type { LaunchTools } from '../container/launch.ts';
import type { Sandbox } from '../container/sandbox.ts';
import type { AcceptStream } from '../io/process-io.ts';

/** What the agent's start took; 0 before it is known. */
interface Start {
  /** CLOCK_BOOTTIME when the ports were open. */
  readonly readyNs: bigint;
  /** CPU time of this process from its execve until then, and until its first answer was written. */
  readonly readyCpuNs: bigint;
  readonly firstAnswerCpuNs: bigint;
}

export interface ServiceContext {
  readonly tools: LaunchTools;
  readonly uevents: Uevents;
  readonly sandbox: Sandbox;
  readonly accept: AcceptStream;
  readonly log: Log;
  /** CLOCK_BOOTTIME at which main began. */
  readonly startedNs: bigint;
  readonly start: Start;
}
