/** Growing byte buffers. */

const FIRST_BYTES = 512;

/** Buffers of at most this size are made whole at once: growing them would copy more than it saves. */
const WHOLE_BYTES = 128 * 1024;

/**
 * A buffer of at least `needed` and at most `limit` bytes that begins with the first `used` bytes of `buffer`. A
 * large one grows with what is needed now, so that an announced size alone costs little.
 */
export function reserve(buffer: Uint8Array | undefined, used: number, needed: number, limit: number): Uint8Array {
  if (buffer !== undefined && buffer.length >= needed) return buffer;
  const size = limit <= WHOLE_BYTES ? limit : Math.min(limit, Math.max(needed, 2 * used, FIRST_BYTES));
  const larger = new Uint8Array(size);
  if (buffer !== undefined) larger.set(buffer.subarray(0, used));
  return larger;
}
