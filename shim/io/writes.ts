/** Owns writing to a descriptor that may close while bytes wait in it. Refuses to know whose they are. */
import type { Writable } from 'node:stream';

/** Settles when the bytes are gone, or never will be since the descriptor was closed. Never rejects. */
export type Write = (bytes: Uint8Array) => Promise<void>;

/**
 * The way to write to a stream. One listener serves all writes: a race of each with a promise of the close would keep
 * something of every write until then.
 */
export function writesTo(stream: Writable): Write {
  const waiting = new Set<() => void>();
  stream.once('close', () => {
    for (const settle of waiting) settle();
  });
  return (bytes) => {
    if (stream.destroyed || !stream.writable) return Promise.resolve();
    return new Promise((resolve) => {
      const settle = (): void => {
        waiting.delete(settle);
        resolve();
      };
      waiting.add(settle);
      stream.write(bytes, settle);
    });
  };
}
