/**
 * The byte pipe under everything: two methods and an end. It knows neither ttrpc nor containers.
 *
 * Implementations: a virtio-serial port on the agent's loop, a Node socket, an in-memory pair for tests.
 */

/** A duplex byte pipe. */
export interface Channel {
  /**
   * Queues bytes. Returns false when the peer is slower than we are: the caller waits for `onDrain` before it writes
   * more. The channel owns the array from here on.
   */
  write(bytes: Uint8Array): boolean;
  /** Whether none of the arrays that were written is held any more: only then may they be used again. */
  readonly idle?: boolean;
  /** Stops (false) or goes on (true) with calls of `onData`. */
  setReading(reading: boolean): void;
  /** Set by the user of the channel. The array is only valid during the call. */
  onData: (bytes: Uint8Array) => void;
  onDrain: () => void;
  /** Called once, with the reason when it was not asked for. */
  onEnd: (error?: Error) => void;
  close(): void;
  /** Drops what was queued by `write` and has not left yet, where that is possible; then as if it had drained. */
  discard?(): void;
}

/** Time and scheduling, handed in so that the protocol stays free of any environment. */
export interface Clock {
  /** Monotonic milliseconds. */
  now(): number;
  /** Runs `fire` once after `delayMs`; the result cancels it. */
  timer(delayMs: number, fire: () => void): () => void;
}
