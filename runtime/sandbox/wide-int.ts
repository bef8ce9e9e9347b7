/**
 * Owns the step from JSON numbers to exact 64-bit ones. JSON numbers are exact to 2^53 only, and the limits that mean
 * "unlimited" (2^63-1, 2^64-1) arrive rounded up: they are brought back into range.
 */

const MAX_UINT64 = 2n ** 64n - 1n;
const MAX_INT64 = 2n ** 63n - 1n;

/** A whole number of at least 0 as an unsigned 64-bit one. */
export function uint64(value: number): bigint {
  const wide = BigInt(value);
  return wide > MAX_UINT64 ? MAX_UINT64 : wide;
}

/** A whole number as a signed 64-bit one. */
export function int64(value: number): bigint {
  const wide = BigInt(value);
  if (wide > MAX_INT64) return MAX_INT64;
  return wide < -MAX_INT64 - 1n ? -MAX_INT64 - 1n : wide;
}
