/** Owns nothing: names what a container needs of the sandbox that holds it. */
import type { AcceptStream } from '../io/process-io.ts';
import type { LaunchTools } from './launch.ts';
import type { Process } from './process.ts';

export interface ContainerTools extends LaunchTools {
  readonly accept: AcceptStream;
  /** The kernel has killed for memory; `kills` counts the container's processes that it has so far. */
  readonly onOom: (containerId: string, kills: bigint) => void;
  readonly onExit: (containerId: string, execId: string, process: Process) => void;
}
