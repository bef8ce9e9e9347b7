/**
 * Owns the records of an extended header (POSIX pax): "length key=value\n". Values are bytes, because an attribute's
 * value need not be text. It does not know what a key means.
 */
import { TarError } from './header.ts';

/** Keys as byte strings. A later record replaces an earlier one of the same key, as POSIX says. */
export type PaxRecords = ReadonlyMap<string, Buffer>;

/** The sparse map of format 0.0 comes as repeated pairs of these keys, so all of them are kept, in order. */
const REPEATED = new Set(['GNU.sparse.offset', 'GNU.sparse.numbytes']);

export interface DecodedPax {
  readonly records: PaxRecords;
  readonly repeated: readonly { readonly key: string; readonly value: string }[];
}

/** Decodes a body. Throws TarError on anything that is not exactly a sequence of records. */
export function decodePax(body: Buffer): DecodedPax {
  const records = new Map<string, Buffer>();
  const repeated: { key: string; value: string }[] = [];
  for (let at = 0; at < body.length; ) {
    // Some writers pad the body with zeros.
    if (body[at] === 0) break;
    const blank = body.indexOf(0x20, at);
    const digits = blank === -1 || blank - at > 10 ? '' : body.toString('latin1', at, blank);
    const length = /^[1-9][0-9]*$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    if (length <= digits.length + 2 || end > body.length || body[end - 1] !== 0x0a) {
      throw new TarError('the extended header is malformed');
    }
    const equals = body.indexOf(0x3d, blank);
    if (equals === -1 || equals >= end) throw new TarError('the extended header has a record without "="');
    const key = body.toString('latin1', blank + 1, equals);
    const value = body.subarray(equals + 1, end - 1);
    if (REPEATED.has(key)) repeated.push({ key, value: value.toString('latin1') });
    else records.set(key, Buffer.from(value));
    at = end;
  }
  return { records, repeated };
}

/** A non-negative whole number of a record (a fraction, as times may have, is cut). */
export function paxNumber(value: Buffer, key: string): number {
  const text = value.toString('latin1');
  const matched = /^(-?[0-9]{1,19})(\.[0-9]*)?$/.exec(text);
  const result = matched ? Number(matched[1]) : Number.NaN;
  if (!Number.isSafeInteger(result)) throw new TarError(`the extended header's ${key} is not a number`);
  return result;
}
