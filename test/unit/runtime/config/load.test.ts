import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig } from '../../../../runtime/config/load.ts';

let directory: string;
const isRoot = process.geteuid?.() === 0;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tskata-config-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function write(name: string, text: string): string {
  const path = join(directory, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, text, { mode: 0o644 });
  return path;
}

test('a file, then its drop-ins in the order of their names', async () => {
  const path = write('a.toml', '[machine]\ndefault_vcpus = 2\nmax_vcpus = 8');
  write('a.d/10.toml', '[machine]\ndefault_vcpus = 3');
  write('a.d/9.toml', '[machine]\ndefault_vcpus = 4');
  write('a.d/99.toml.bak', 'nonsense');
  write('a.d/.hidden.toml', 'nonsense');
  const loaded = await loadConfig(path);
  expect(loaded.path).toBe(path);
  expect(loaded.config.machine).toMatchObject({ default_vcpus: 4, max_vcpus: 8 });
});

test('a file that was named must be there, and be one', async () => {
  await expect(loadConfig(join(directory, 'none.toml'))).rejects.toThrow(`read ${directory}/none.toml: no such file`);
  mkdirSync(join(directory, 'dir.toml'));
  await expect(loadConfig(join(directory, 'dir.toml'))).rejects.toThrow('it is not a regular file');
  await expect(loadConfig(write('big.toml', '#'.repeat(2 ** 20 + 1)))).rejects.toThrow('more than');
});

test('a mistake in a drop-in names the drop-in', async () => {
  const path = write('b.toml', '');
  write('b.d/x.toml', '[machine]\nkernell = "/x"');
  await expect(loadConfig(path)).rejects.toThrow(
    `read ${directory}/b.d/x.toml: machine.kernell: unknown key; did you mean "kernel"?`,
  );
});

test('what others can write is refused with the cure', async () => {
  const path = write('c.toml', '');
  chmodSync(path, 0o664);
  await expect(loadConfig(path)).rejects.toThrow(`${path} can be written by others than its owner (mode 664) - chmod`);
  const inOpen = write('open/d.toml', '');
  chmodSync(join(directory, 'open'), 0o777);
  await expect(loadConfig(inOpen)).rejects.toThrow(`${directory}/open can be written by others`);
  const dropIns = write('e.d/1.toml', '');
  chmodSync(join(dropIns, '..'), 0o770);
  await expect(loadConfig(write('e.toml', ''))).rejects.toThrow(`${directory}/e.d can be written by others`);
  // By way of a link it is the same file in the same directory.
  symlinkSync(inOpen, join(directory, 'link.toml'));
  await expect(loadConfig(join(directory, 'link.toml'))).rejects.toThrow(`${directory}/open can be written`);
});

test.runIf(isRoot)("another user's file is refused", async () => {
  const path = write('f.toml', '');
  chownSync(path, 12_345, 0);
  await expect(loadConfig(path)).rejects.toThrow(`${path} belongs to user 12345, not to root - chown root`);
});
