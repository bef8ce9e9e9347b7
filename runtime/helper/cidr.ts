/** IP ranges in CIDR form, as bytes. Pure. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';

/** A range: 4 or 16 address bytes with the host bits cleared, and the length of the prefix. */
export interface Cidr {
  readonly bytes: Uint8Array;
  readonly prefix: number;
}

/** Reads "10.0.0.0/8", "fe80::/10", or a single address. Throws InvalidArgument. */
export function parseCidr(text: string): Cidr {
  const slash = text.indexOf('/');
  const bytes = parseAddress(slash < 0 ? text : text.slice(0, slash));
  const bits = slash < 0 ? undefined : text.slice(slash + 1);
  const prefix = bits === undefined ? (bytes?.length ?? 0) * 8 : /^\d{1,3}$/.test(bits) ? Number(bits) : -1;
  if (bytes === undefined || prefix < 0 || prefix > bytes.length * 8) {
    throw new TskataError(Code.InvalidArgument, `parse address range ${text}: not in CIDR form`);
  }
  const mask = maskOf(prefix, bytes.length);
  return { bytes: bytes.map((byte, index) => byte & (mask[index] ?? 0)), prefix };
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

function parseAddress(text: string): Uint8Array | undefined {
  return text.includes(':') ? parseInet6(text) : parseInet4(text);
}

function parseInet4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)) {
    return undefined;
  }
  return Uint8Array.from(parts, Number);
}

function parseInet6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? '');
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '') : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

/** "fe80:0:1.2.3.4" -> 16-bit groups; a dotted end counts as two. */
function parseGroups(text: string): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    const dotted = index === parts.length - 1 && part.includes('.') ? parseInet4(part) : undefined;
    if (dotted !== undefined) {
      const [a = 0, b = 0, c = 0, d = 0] = dotted;
      groups.push((a << 8) | b, (c << 8) | d);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return groups;
}
