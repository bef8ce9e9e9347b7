/**
 * Owns: a kernel that the user brings (TSKATA_GUEST_KERNEL), and recognising what a file is.
 * Refuses to know: how kernels are built or started.
 */
import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';

export const OVERRIDE_VARIABLE = 'TSKATA_GUEST_KERNEL';

export type KernelImageKind = 'bzImage' | 'elf';

/** Enough for the boot header of a bzImage and the version text behind it. */
const HEAD_BYTES = 0x10000;
/** Documentation/arch/x86/boot.rst: "HdrS" at 0x202, the pointer to the version text at 0x20e, relative to 0x200. */
const BOOT_MAGIC_AT = 0x202;
const VERSION_POINTER_AT = 0x20e;
const SETUP_START = 0x200;
const MAX_VERSION_BYTES = 256;

/** What a file is by its first bytes, or undefined when it is no kernel for x86-64. */
export function kernelImageKind(head: Buffer): KernelImageKind | undefined {
  // 64 bits, little-endian, machine 62 (x86-64)
  if (
    head.length >= 20 &&
    head.readUInt32BE(0) === 0x7f454c46 &&
    head[4] === 2 &&
    head[5] === 1 &&
    head.readUInt16LE(18) === 62
  )
    return 'elf';
  if (head.length > VERSION_POINTER_AT + 2 && head.toString('latin1', BOOT_MAGIC_AT, BOOT_MAGIC_AT + 4) === 'HdrS')
    return 'bzImage';
  return undefined;
}

/** The release in a bzImage's header (`6.1.192-tskata`), or undefined when it has none. */
export function bzImageRelease(head: Buffer): string | undefined {
  if (kernelImageKind(head) !== 'bzImage') return undefined;
  const start = head.readUInt16LE(VERSION_POINTER_AT) + SETUP_START;
  const text = head.toString('latin1', start, start + MAX_VERSION_BYTES);
  return /^([\x21-\x7e]+)[ \0]/.exec(text)?.[1];
}

/**
 * Reads the start of a kernel image and says what it is.
 *
 * @throws Error when the path is not absolute, the file is missing or is no kernel
 */
export async function inspectKernelImage(
  path: string,
): Promise<{ kind: KernelImageKind; release: string | undefined; key: string }> {
  const subject = `use guest kernel ${path}`;
  if (!isAbsolute(path)) throw new Error(`${subject}: the path is not absolute`);
  const info = await stat(path).catch((cause: unknown) => {
    throw new Error(`${subject}: no such file (check ${OVERRIDE_VARIABLE})`, { cause });
  });
  if (!info.isFile()) throw new Error(`${subject}: not a regular file`);
  const head = await readHead(path);
  const kind = kernelImageKind(head);
  if (kind === undefined) throw new Error(`${subject}: neither a bzImage nor an x86-64 ELF file`);
  // a changed file has another size or time; reading all of it at each start would cost more than it tells
  const key = createHash('sha256').update(`${path}\0${info.size}\0${info.mtimeMs}\0`).update(head).digest('hex');
  return { kind, release: bzImageRelease(head), key };
}

async function readHead(path: string): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
