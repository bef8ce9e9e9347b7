/** A kernel of the user's own: what is accepted, and how a refusal reads. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ensureGuestKernel } from '../../../guest-kernel/build.ts';
import { bzImageRelease, inspectKernelImage, kernelImageKind } from '../../../guest-kernel/override.ts';

/** The start of a bzImage whose version text says `release`. */
function bzImageHead(release: string): Buffer {
  const head = Buffer.alloc(0x1000);
  head.write('HdrS', 0x202, 'latin1');
  head.writeUInt16LE(0x400 - 0x200, 0x20e);
  head.write(`${release} (builder@host) #1 SMP`, 0x400, 'latin1');
  return head;
}

/** The start of an ELF file for a machine number (62: x86-64, 183: AArch64). */
function elfHead(machine: number): Buffer {
  const head = Buffer.alloc(64);
  head.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  head.writeUInt16LE(2, 16);
  head.writeUInt16LE(machine, 18);
  return head;
}

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tskata-kernel-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
  delete process.env.TSKATA_GUEST_KERNEL;
});

describe('recognising a kernel image', () => {
  test('by its first bytes', () => {
    expect(kernelImageKind(bzImageHead('6.1.0'))).toBe('bzImage');
    expect(kernelImageKind(elfHead(62))).toBe('elf');
    expect(kernelImageKind(elfHead(183))).toBeUndefined();
    expect(kernelImageKind(Buffer.from('HdrS'))).toBeUndefined();
    expect(kernelImageKind(Buffer.alloc(0))).toBeUndefined();
  });

  test('reads the release of a bzImage', () => {
    expect(bzImageRelease(bzImageHead('6.1.9-mine'))).toBe('6.1.9-mine');
    expect(bzImageRelease(elfHead(62))).toBeUndefined();
  });
});

describe('inspectKernelImage', () => {
  test.each([
    ['a relative path', 'bzImage', 'not absolute'],
    ['a missing file', '/nonexistent/bzImage', 'no such file'],
    ['a directory', '/usr', 'not a regular file'],
    ['another file', '/etc/passwd', 'neither a bzImage nor an x86-64 ELF file'],
  ])('refuses %s', async (_, path, reason) => {
    await expect(inspectKernelImage(path)).rejects.toThrow(reason);
  });
});

describe('TSKATA_GUEST_KERNEL', () => {
  test('is used as it is, without a build', async () => {
    const path = join(folder, 'own');
    writeFileSync(path, bzImageHead('6.1.9-mine'));
    process.env.TSKATA_GUEST_KERNEL = path;
    const kernel = await ensureGuestKernel();
    expect(kernel).toMatchObject({ bzImage: path, vmlinux: path, release: '6.1.9-mine', origin: 'override' });
    writeFileSync(path, bzImageHead('6.1.10-mine'));
    expect((await ensureGuestKernel()).key).not.toBe(kernel.key);
  });

  test('is refused by name when it is no kernel', async () => {
    process.env.TSKATA_GUEST_KERNEL = join(folder, 'missing');
    await expect(ensureGuestKernel()).rejects.toThrow(
      `use guest kernel ${folder}/missing: no such file (check TSKATA_GUEST_KERNEL)`,
    );
  });
});
