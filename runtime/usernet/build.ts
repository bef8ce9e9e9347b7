/** Owns the build of the user-mode network: its C files and the distribution's libslirp become one hardened program. */
import { chmod, copyFile, mkdir, readdir, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cached, hashOf } from '../../agent/engine/cache.ts';
import { runTool } from '../../agent/engine/run.ts';

const SOURCES = import.meta.dirname;
const CC = 'gcc';
const FLAGS = [
  '-std=gnu11',
  '-O2',
  '-D_GNU_SOURCE',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-fPIE',
  '-fstack-protector-strong',
  '-fstack-clash-protection',
  '-fcf-protection=full',
  '-U_FORTIFY_SOURCE',
  '-D_FORTIFY_SOURCE=2',
  '-isystem',
  '/usr/include/slirp',
];
/** libslirp is the distribution's, with its security updates; libseccomp is linked in, as in the other programs. */
const LINK_FLAGS = [
  '-pie',
  '-Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code,--as-needed,--build-id=none',
  '-s',
  '-lslirp',
  '-l:libseccomp.a',
];

/** Builds the program, or finds it in the cache, and puts it at `outFile`. */
export async function buildUsernet(outFile: string): Promise<void> {
  const names = (await readdir(SOURCES)).filter((name) => name.endsWith('.c') || name.endsWith('.h')).sort();
  const texts = await Promise.all(names.map((name) => readFile(join(SOURCES, name))));
  const version = await runTool(CC, ['--version']);
  const key = hashOf([version, ...FLAGS, ...LINK_FLAGS, ...names, ...texts]);
  const directory = await cached('usernet', key, async (temporary) => {
    const units = names.filter((name) => name.endsWith('.c')).map((name) => join(SOURCES, name));
    await runTool(CC, [...FLAGS, '-o', join(temporary, 'program'), ...units, ...LINK_FLAGS]);
  });
  await mkdir(dirname(outFile), { recursive: true });
  // In one step: a running program keeps its old file.
  const temporary = `${outFile}.${process.pid}.new`;
  await copyFile(join(directory, 'program'), temporary);
  await chmod(temporary, 0o755);
  await rename(temporary, outFile);
}
