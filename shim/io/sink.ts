/**
 * Owns the idea of a place for output. Refuses to know whose output it is.
 */

/** Takes output in order. */
export interface OutputSink {
  /**
   * Resolves when the bytes have left this process (in the FIFO, the file, the logger's pipe). A sink whose reader is
   * gone for good swallows them: losing a reader must not end or block a container. Never rejects.
   */
  write(bytes: Uint8Array): Promise<void>;
  /** Gives up writes that have not finished and closes, so that the reader sees the end. Idempotent. */
  close(): void;
}

/** Writes to all of `sinks`; finished when the slowest has. */
export function teeSink(sinks: readonly OutputSink[]): OutputSink {
  const [only] = sinks;
  if (only !== undefined && sinks.length === 1) return only;
  return {
    write: async (bytes) => {
      await Promise.all(sinks.map((sink) => sink.write(bytes)));
    },
    close: () => {
      for (const sink of sinks) sink.close();
    },
  };
}
