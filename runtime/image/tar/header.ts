/**
 * Owns the 512-byte header of a tar entry (POSIX ustar, GNU and old forms): numbers, strings, checksum. It follows no
 * extension and reads nothing but the block it is given.
 */

export const TAR_BLOCK_BYTES = 512;

/** A header as it stands in the block; names are byte strings (latin1). */
export interface TarHeader {
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  /** One character; '\0' is an old regular file. */
  readonly type: string;
  readonly linkName: string;
  readonly major: number;
  readonly minor: number;
  /** GNU's own form, whose bytes behind 345 are not a name prefix. */
  readonly gnu: boolean;
}

/** What is wrong with a stream, without its name: the caller adds layer and entry. */
export class TarError extends Error {
  override readonly name = 'TarError';
}

/** Decodes a header; undefined for a block of zeros, which ends an archive. Throws TarError. */
export function decodeHeader(block: Buffer): TarHeader | undefined {
  if (!checksumFits(block)) {
    if (block.every((byte) => byte === 0)) return undefined;
    throw new TarError('the header checksum is wrong');
  }
  const magic = block.toString('latin1', 257, 265);
  const gnu = magic === 'ustar  \0';
  const ustar = !gnu && magic.startsWith('ustar');
  const name = text(block, 0, 100);
  const prefix = ustar ? text(block, 345, 155) : '';
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    mode: number(block, 100, 8, 'mode') & 0o7777,
    uid: number(block, 108, 8, 'uid'),
    gid: number(block, 116, 8, 'gid'),
    size: number(block, 124, 12, 'size'),
    mtime: signedNumber(block, 136, 12, 'mtime'),
    type: String.fromCharCode(block[156] ?? 0),
    linkName: text(block, 157, 100),
    major: ustar || gnu ? number(block, 329, 8, 'major number') : 0,
    minor: ustar || gnu ? number(block, 337, 8, 'minor number') : 0,
    gnu,
  };
}

/** A non-negative number of a header or of a GNU sparse map: octal text, or base 256 when the first bit is set. */
export function number(block: Buffer, at: number, length: number, what: string): number {
  const value = signedNumber(block, at, length, what);
  if (value < 0) throw new TarError(`the ${what} is negative`);
  return value;
}

function signedNumber(block: Buffer, at: number, length: number, what: string): number {
  const first = block[at] ?? 0;
  if (first & 0x80) return base256(block.subarray(at, at + length), what);
  const digits = text(block, at, length).trim();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw new TarError(`the ${what} is not a number`);
  const value = Number.parseInt(digits, 8);
  if (!Number.isSafeInteger(value)) throw new TarError(`the ${what} is too large`);
  return value;
}

function base256(bytes: Buffer, what: string): number {
  const negative = ((bytes[0] ?? 0) & 0x40) !== 0;
  let value = BigInt((bytes[0] ?? 0) & 0x3f);
  for (const byte of bytes.subarray(1)) value = (value << 8n) | BigInt(byte);
  if (negative) value -= 1n << BigInt(bytes.length * 8 - 2);
  const result = Number(value);
  if (!Number.isSafeInteger(result)) throw new TarError(`the ${what} is too large`);
  return result;
}

function text(block: Buffer, at: number, length: number): string {
  const end = block.indexOf(0, at);
  return block.toString('latin1', at, end === -1 || end > at + length ? at + length : end);
}

/** The sum over all bytes, those of the checksum counted as blanks; some old writers summed signed bytes. */
function checksumFits(block: Buffer): boolean {
  const stated = Number.parseInt(text(block, 148, 8).trim(), 8);
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < TAR_BLOCK_BYTES; at++) {
    const byte = at >= 148 && at < 156 ? 0x20 : (block[at] ?? 0);
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  return stated === unsigned || stated === signed;
}
