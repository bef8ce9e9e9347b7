/**
 * Owns the look at a block image that is there: whether it is as long as its superblock says. It reads one block; what
 * is damaged further in, the guest's kernel finds.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { BLOCK_BYTES, decodeSuperblock } from './format.ts';

/** What is wrong with the image at `path`; undefined when it looks whole. Throws ENOENT when it is not there. */
export async function findDamage(path: string): Promise<string | undefined> {
  const file = await open(path, 'r');
  try {
    return await damageOf(file);
  } finally {
    await file.close();
  }
}

async function damageOf(file: FileHandle): Promise<string | undefined> {
  const { size } = await file.stat();
  const block = Buffer.alloc(BLOCK_BYTES);
  const { bytesRead } = await file.read(block, 0, BLOCK_BYTES, 0);
  if (bytesRead < BLOCK_BYTES) return `it has ${size} bytes, not even one block`;
  const superblock = decodeSuperblock(block);
  if (superblock === undefined) return 'it does not begin like an EROFS image';
  const wanted = superblock.blocks * BLOCK_BYTES;
  return size === wanted ? undefined : `it has ${size} bytes instead of ${wanted}`;
}
