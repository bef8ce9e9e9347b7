/** Sizes as people write them: "64m", "1.5GiB", "1073741824". Units are powers of 1,024, as docker has them. */
import { Code, TskataError } from '../../../agent/protocol/errors.ts';

const FACTORS: Readonly<Record<string, number>> = { '': 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Bytes of a size; throws invalid_argument naming the flag. */
export function parseSize(flag: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?$/i.exec(text.trim());
  const factor = FACTORS[match?.[2]?.toLowerCase() ?? ''];
  if (!match || factor === undefined) {
    throw new TskataError(Code.InvalidArgument, `${flag} ${text}: not a size; write 512m, 2g or a number of bytes`);
  }
  const bytes = Math.floor(Number(match[1]) * factor);
  if (bytes > Number.MAX_SAFE_INTEGER) {
    throw new TskataError(Code.InvalidArgument, `${flag} ${text}: is too large; at most 8191t`);
  }
  return bytes;
}
