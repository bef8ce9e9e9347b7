/** Growing byte buffers. */

const FIRST_BYTES = 512;

/**
 * A buffer of at least `needed` and at most `limit` bytes that begins with the first `used` bytes of `buffer`. It grows
 * with what is needed now, so that an announced size alone costs nothing.
 */
export function reserve(buffer: Uint8Array | undefined, used: number, needed: number, limit: number): Uint8Array {
  if (buffer !== undefined && buffer.length >= needed) return buffer;
  const larger = new Uint8Array(Math.min(limit, Math.max(needed, 2 * used, FIRST_BYTES)));
  if (buffer !== undefined) larger.set(buffer.subarray(0, used));
  return larger;
}
