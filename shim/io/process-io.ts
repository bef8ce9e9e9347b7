/**
 * Owns the copying between a process's streams in the guest and what its client opened on the host. Refuses to know
 * what kind of place a sink or a source is.
 */
import type { GuestStream } from '../../runtime/sandbox/guest.ts';
import type { ProcessIo, ProcessStreams } from '../../runtime/sandbox/process-io.ts';
import type { InputSource } from './fifo.ts';
import { OutputPump } from './output-pump.ts';
import type { OutputSink } from './sink.ts';

/** Where the bytes of one process go and come from; absent ones are /dev/null in the guest. */
export interface HostEnds {
  readonly stdin?: InputSource | undefined;
  readonly stdout?: OutputSink | undefined;
  readonly stderr?: OutputSink | undefined;
  /** Called once when everything is closed: flushes a log, ends a logger. */
  readonly onClose?: () => void | Promise<void>;
}

/** Carries bytes between `ends` and the streams that `attach` gets. */
export function createProcessIo(ends: HostEnds): ProcessIo {
  const stdout = ends.stdout === undefined ? undefined : new OutputPump(ends.stdout);
  const stderr = ends.stderr === undefined ? undefined : new OutputPump(ends.stderr);
  let input: GuestStream | undefined;
  let closing: Promise<void> | undefined;
  const closeAll = async (): Promise<void> => {
    ends.stdin?.close();
    input?.abort();
    stdout?.close();
    stderr?.close();
    await ends.onClose?.();
  };
  return {
    wants: { stdin: ends.stdin !== undefined, stdout: stdout !== undefined, stderr: stderr !== undefined },
    attach: (streams: ProcessStreams) => {
      if (streams.stdout !== undefined) stdout?.start(streams.stdout);
      if (streams.stderr !== undefined) stderr?.start(streams.stderr);
      input = streams.stdin;
      if (ends.stdin !== undefined && input !== undefined) void pumpInput(ends.stdin, input);
    },
    delivered: async (bytes) => {
      await Promise.all([stdout?.delivered(bytes.stdout), stderr?.delivered(bytes.stderr)]);
    },
    ended: async () => {
      await Promise.all([stdout?.ended, stderr?.ended]);
    },
    stopInput: () => ends.stdin?.close(),
    closeInput: () => ends.stdin?.release(),
    close: () => {
      closing ??= closeAll();
      return closing;
    },
  };
}

/** Copies until the end of input; a process that no longer reads ends it quietly. */
async function pumpInput(source: InputSource, stream: GuestStream): Promise<void> {
  try {
    for await (const chunk of source.chunks()) await stream.write(chunk);
    stream.end();
  } catch {
    // The process has closed its input, or the guest is gone: what the client still writes stays in its FIFO.
    source.close();
  }
}
