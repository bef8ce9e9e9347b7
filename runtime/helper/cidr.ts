/** IP ranges in CIDR form, as bytes. Pure. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { parsePrefixed } from '../../agent/sys/ip.ts';

/** A range: 4 or 16 address bytes with the host bits cleared, and the length of the prefix. */
export interface Cidr {
  readonly bytes: Uint8Array;
  readonly prefix: number;
}

/** Reads "10.0.0.0/8", "fe80::/10", or a single address. Throws InvalidArgument. */
export function parseCidr(text: string): Cidr {
  const range = parsePrefixed(text);
  if (range === undefined) {
    throw new TskataError(Code.InvalidArgument, `parse address range ${text}: not in CIDR form`);
  }
  const { address, prefix } = range;
  const mask = maskOf(prefix, address.length);
  return { bytes: address.map((byte, index) => byte & (mask[index] ?? 0)), prefix };
}

/** The netmask of a prefix in `length` bytes. */
export function maskOf(prefix: number, length: number): Uint8Array {
  const mask = new Uint8Array(length);
  for (let index = 0; index < length; index++) {
    const bits = Math.min(8, Math.max(0, prefix - index * 8));
    mask[index] = (0xff00 >> bits) & 0xff;
  }
  return mask;
}
