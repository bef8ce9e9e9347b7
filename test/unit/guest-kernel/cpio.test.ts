/** The archive of the first root file system: exact bytes, and what GNU cpio makes of them. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { writeCpio } from '../../../guest-kernel/cpio.ts';
import { buildInitrd, initrdEntries } from '../../../guest-kernel/initrd.ts';

const ELF = Buffer.concat([Buffer.from([0x7f, 0x45, 0x4c, 0x46]), Buffer.from('agent')]);

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tskata-cpio-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('writeCpio', () => {
  test('writes the bytes of the newc format', () => {
    const archive = writeCpio([
      { kind: 'directory', path: 'dev', mode: 0o755 },
      { kind: 'char-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
      { kind: 'file', path: 'init', mode: 0o755, data: Buffer.from('hello') },
      { kind: 'symlink', path: 'i', target: 'init' },
    ]);
    const zero = '00000000';
    const record = (
      inode: string,
      mode: string,
      links: string,
      size: string,
      device: string,
      name: string,
      rest: string,
    ) => `070701${inode}${mode}${zero}${zero}${links}${zero}${size}${zero}${zero}${device}${name}${zero}${rest}`;
    expect(archive.toString('latin1')).toBe(
      [
        record('00000001', '000041ED', '00000002', zero, zero + zero, '00000004', 'dev\0\0\0'),
        record('00000002', '00002180', '00000001', zero, '0000000500000001', '0000000C', 'dev/console\0\0\0'),
        record('00000003', '000081ED', '00000001', '00000005', zero + zero, '00000005', 'init\0\0hello\0\0\0'),
        record('00000004', '0000A1FF', '00000001', '00000004', zero + zero, '00000002', 'i\0init'),
        record(zero, zero, '00000001', zero, zero + zero, '0000000B', 'TRAILER!!!\0\0\0\0'),
      ].join(''),
    );
    expect(archive.length % 4).toBe(0);
  });

  test.each(['', '/init', 'a/../b', './a', 'a//b', 'a/', 'TRAILER!!!', 'a\0b', 'x'.repeat(4096)])(
    'refuses the path %j',
    (path) => {
      expect(() => writeCpio([{ kind: 'directory', path, mode: 0o755 }])).toThrow('write cpio archive');
    },
  );

  test('refuses a repeated path and a path without its directory', () => {
    const dev = { kind: 'directory', path: 'dev', mode: 0o755 } as const;
    expect(() => writeCpio([dev, dev])).toThrow('dev occurs twice');
    expect(() => writeCpio([{ ...dev, path: 'dev/pts' }])).toThrow('before its directory dev');
  });
});

describe('buildInitrd', () => {
  test('holds the agent as /init, a console and empty directories, as GNU cpio reads it', async () => {
    const agentBinary = join(folder, 'agent');
    const outFile = join(folder, 'initrd.cpio');
    writeFileSync(agentBinary, ELF);
    const { bytes } = await buildInitrd({ agentBinary, outFile });
    expect(bytes).toBe(statSync(outFile).size);
    const listing = execFileSync('cpio', ['--list', '--verbose', '--numeric-uid-gid', '--quiet'], {
      input: readFileSync(outFile),
      encoding: 'utf8',
      env: { ...process.env, TZ: 'UTC', LC_ALL: 'C' },
    });
    const lines = listing
      .trimEnd()
      .split('\n')
      .map((line) => line.replace(/\s+/g, ' ').replace(/Jan 1 1970 /, ''));
    expect(lines).toEqual([
      'drwxr-xr-x 2 0 0 0 dev',
      'crw------- 1 0 0 5, 1 dev/console',
      'dr-xr-xr-x 2 0 0 0 proc',
      'drwxr-xr-x 2 0 0 0 run',
      'dr-xr-xr-x 2 0 0 0 sys',
      'drwxrwxrwt 2 0 0 0 tmp',
      '-rwxr-xr-x 1 0 0 9 init',
    ]);
  });

  test('gives equal bytes for an equal agent', () => {
    const hash = createHash('sha256')
      .update(writeCpio(initrdEntries(ELF)))
      .digest('hex');
    expect(hash).toMatchInlineSnapshot(`"98609373eedd0711442bb86a4c1d4838548677f859767c15c7ff540c12db0469"`);
  });

  test('refuses an agent that is no program, and leaves nothing behind', async () => {
    const agentBinary = join(folder, 'agent');
    writeFileSync(agentBinary, '#!/bin/sh\n');
    const outFile = join(folder, 'initrd.cpio');
    await expect(buildInitrd({ agentBinary, outFile })).rejects.toThrow('not an ELF executable');
    expect(() => statSync(outFile)).toThrow('ENOENT');
  });
});
