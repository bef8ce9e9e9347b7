/** The resolver of a program's files against the loader's own opinion, and its refusals. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TskataError } from '../../../../agent/protocol/errors.ts';
import { parseElfNeeds } from '../../../../runtime/helper-client/elf.ts';
import { programFiles } from '../../../../runtime/helper-client/libraries.ts';

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tskata-libraries-'));
});

afterAll(() => rmSync(directory, { recursive: true }));

/** Paths that the dynamic loader would map. */
function loaderSays(program: string): string[] {
  const text = execFileSync('/usr/bin/ldd', [program]).toString();
  return [...text.matchAll(/(?:=> |^\s*)(\/\S+) \(/gm)].map((match) => match[1] ?? '');
}

test.each(['/usr/bin/qemu-system-x86_64', '/usr/bin/skopeo', '/usr/lib/qemu/virtiofsd', process.execPath])(
  'files of %s are those that the loader maps',
  async (program) => {
    const files = await programFiles([program], directory);
    const inode = (path: string): number => statSync(path).ino;
    const found = new Set(files.map(({ target }) => inode(target)));
    for (const path of loaderSays(program)) expect(found).toContain(inode(path));
    expect(files.some(({ target }) => target === program)).toBe(true);
  },
);

test('a static program needs only itself', async () => {
  const files = await programFiles(['/bin/busybox'], directory);
  expect(files).toEqual([{ source: '/usr/bin/busybox', target: '/bin/busybox' }]);
});

test('the kept answer falls with a change of a file', async () => {
  const program = join(directory, 'program');
  copyFileSync('/usr/bin/skopeo', program);
  const first = await programFiles([program], directory);
  expect(await programFiles([program], directory)).toEqual(first);
  copyFileSync('/bin/busybox', program);
  utimesSync(program, 1, 1);
  expect(await programFiles([program], directory)).toEqual([{ source: program, target: program }]);
});

test('what is missing or no program is named', async () => {
  await expect(programFiles(['/no/such/program'], directory)).rejects.toThrow('/no/such/program: no such file');
  const script = join(directory, 'script');
  writeFileSync(script, '#!/bin/sh\n');
  await expect(programFiles([script], directory)).rejects.toThrow('not a 64-bit little-endian ELF file');
});

test('damaged files are parsed or refused, never worse', () => {
  const whole = readFileSync('/usr/bin/qemu-img').subarray(0, 20_000);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 20 }),
      fc.nat(whole.length),
      (changes, cut) => {
        const file = Uint8Array.from(whole.subarray(0, cut));
        for (const [at, value] of changes) if (at < file.length) file[at] = value;
        try {
          parseElfNeeds(file, 'x');
        } catch (error) {
          expect(error).toBeInstanceOf(TskataError);
        }
      },
    ),
    { seed: 7, numRuns: 3000 },
  );
});
