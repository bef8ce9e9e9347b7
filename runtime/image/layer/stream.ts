/**
 * Owns the way from a stored layer blob to its tar stream: decompression into a temporary file, bounded while it grows,
 * and the check of the diff id, which the image's configuration states for exactly these bytes. It reads no entry.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import { type Digest, finish } from '../digest.ts';
import { withFile } from '../store/files.ts';

const CHUNK_BYTES = 256 * 1024;

/** What a blob begins with decides, not its media type: registries hold layers under wrong ones. */
const MAGICS = [
  { name: 'gzip', bytes: Buffer.from([0x1f, 0x8b]) },
  { name: 'zstd', bytes: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]) },
  { name: 'bzip2', bytes: Buffer.from('BZh') },
  { name: 'xz', bytes: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]) },
] as const;

export type Compression = (typeof MAGICS)[number]['name'] | 'none';

/** A layer's blob and what its stream must be. */
export interface StreamRequest {
  readonly blob: string;
  /** Digest of the blob: for messages. */
  readonly digest: Digest;
  readonly diffId: Digest;
  /** Most bytes after decompression. */
  readonly maxBytes: number;
}

/** How a file is compressed. */
export async function detectCompression(path: string): Promise<Compression> {
  const head = Buffer.alloc(8);
  await withFile(path, 'r', (file) => file.read(head, 0, head.length, 0));
  return MAGICS.find(({ bytes }) => head.subarray(0, bytes.length).equals(bytes))?.name ?? 'none';
}

/** Writes the stream to `target`, or returns the blob itself when it is not compressed. Verified either way. */
export async function openStream(request: StreamRequest, target: string): Promise<string> {
  const compression = await detectCompression(request.blob);
  if (compression === 'none') {
    await verified(request, compression, async () => {});
    return request.blob;
  }
  await withFile(target, 'wx', (file) => verified(request, compression, (chunk) => file.writeFile(chunk)));
  return target;
}

/** Passes the decompressed bytes on and checks their number and their digest. */
async function verified(
  request: StreamRequest,
  compression: Compression,
  write: (chunk: Buffer) => Promise<void>,
): Promise<void> {
  const hash = createHash('sha256');
  const source = createReadStream(request.blob, { highWaterMark: CHUNK_BYTES * 4 });
  let length = 0;
  const sink = async (chunks: AsyncIterable<Buffer>): Promise<void> => {
    for await (const chunk of chunks) {
      length += chunk.length;
      if (length > request.maxBytes)
        throw failure(request, Code.ResourceExhausted, `it unpacks to more than ${request.maxBytes} bytes`);
      hash.update(chunk);
      await write(chunk);
    }
  };
  try {
    if (compression === 'gzip') await pipeline(source, createGunzip({ chunkSize: CHUNK_BYTES }), sink);
    else if (compression === 'zstd') await pipeline(source, createZstdDecompress({ chunkSize: CHUNK_BYTES }), sink);
    else if (compression === 'none') await pipeline(source, sink);
    else
      throw failure(
        request,
        Code.Unimplemented,
        `it is compressed with ${compression} - push the image with gzip or zstd layers`,
      );
  } catch (error) {
    if (error instanceof TskataError || isSystemError(error)) throw error;
    throw failure(request, Code.DataLoss, `it cannot be decompressed: ${(error as Error).message}`);
  }
  const found = finish(hash);
  if (found === request.diffId) return;
  throw failure(request, Code.DataLoss, `its content is ${found}, but the image says ${request.diffId}`);
}

/** A failure of the file system, not of the stream. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

function failure(request: StreamRequest, code: Code, fact: string): TskataError {
  return new TskataError(code, `convert layer ${request.digest} - ${fact}`);
}
