/**
 * Owns what a process needs of whoever carries its input and output. The shim's `io` implements it. Refuses to know
 * where the bytes come from and go to.
 */
import type { GuestStream } from './guest.ts';

/** Streams of a process; absent ones are /dev/null in the guest. */
export interface ProcessStreams {
  readonly stdin?: GuestStream;
  readonly stdout?: GuestStream;
  readonly stderr?: GuestStream;
}

/** How a request names them; 0 is none. */
export function streamIds(streams: ProcessStreams): { stdin: number; stdout: number; stderr: number } {
  const { stdin, stdout, stderr } = streams;
  return { stdin: stdin?.id ?? 0, stdout: stdout?.id ?? 0, stderr: stderr?.id ?? 0 };
}

/** Carries the bytes of one process. */
export interface ProcessIo {
  /** Which streams the guest must connect. With a terminal `stderr` is false. */
  readonly wants: { readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean };
  /** Begins to copy. Called once, before the process can run. */
  attach(streams: ProcessStreams): void;
  /** Resolves when so many bytes of output were delivered, or the streams have ended. Never rejects, may never resolve. */
  delivered(bytes: { readonly stdout: bigint; readonly stderr: bigint }): Promise<void>;
  /** Resolves when both output streams have ended and everything was delivered. Never rejects, may never resolve. */
  ended(): Promise<void>;
  /** The process has ended: no more input. */
  stopInput(): void;
  /** CloseIO: the end of input after what the client has written. Idempotent. */
  closeInput(): void;
  /** Ends all copying and closes what it holds, so that readers see the end; resolves when files are written. Idempotent. */
  close(): Promise<void>;
}

/** The names under which a client knows the streams, kept for answers and events. */
export interface StdioPaths {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** Opens what `paths` names. Throws naming the path. */
export type OpenProcessIo = (paths: StdioPaths) => ProcessIo;
