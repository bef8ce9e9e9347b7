/** Owns what every group of Task methods works with. */
import type { Logger } from '../../runtime/host/log.ts';
import type { Sandbox } from '../../runtime/sandbox/sandbox.ts';

export interface TaskContext {
  readonly sandbox: Sandbox;
  /** containerd's namespace. */
  readonly namespace: string;
  /** The file that the shim was told to read its configuration from; empty: the host's own. */
  readonly configPath: string;
  readonly shimPid: number;
  readonly log: Logger;
  /** Called before a Create begins: whoever makes something keeps the shim from ending. */
  readonly onCreating: (id: string, bundle: string) => void;
  /** That Create has failed, and nothing of it is left. */
  readonly onCreateFailed: (id: string) => void;
  /** Ends the sandbox and this shim; resolves when the answer may be sent. */
  readonly shutdown: () => Promise<void>;
}
