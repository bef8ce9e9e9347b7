/** Owns content digests: their form, and reading a stream while it is hashed. Only sha256 is known; others are refused. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { Code, TskataError } from '../../agent/protocol/errors.ts';

/** "sha256:" and 64 lower-case hexadecimal digits. */
export type Digest = string & { readonly __brand: 'Digest' };

const FORM = /^sha256:[0-9a-f]{64}$/;
const READ_BYTES = 1024 * 1024;

/** Checks the form. `where` names the field for the message. */
export function parseDigest(text: string, where: string): Digest {
  if (FORM.test(text)) return text as Digest;
  throw new TskataError(
    Code.InvalidArgument,
    `read ${where} - '${text.slice(0, 100)}' is not a digest - expected sha256: and 64 hexadecimal digits`,
  );
}

/** The 64 digits: a file name. */
export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length);
}

export function digestOf(bytes: Uint8Array | string): Digest {
  return finish(createHash('sha256').update(bytes));
}

/** Ends a hash of the caller's as a digest. */
export function finish(hash: Hash): Digest {
  return `sha256:${hash.digest('hex')}` as Digest;
}

/** Digest and size of a file. */
export async function digestFile(path: string): Promise<{ readonly digest: Digest; readonly size: number }> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: READ_BYTES })) {
    hash.update(chunk as Buffer);
    size += (chunk as Buffer).length;
  }
  return { digest: finish(hash), size };
}
