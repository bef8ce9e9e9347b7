/**
 * Runs around every test file: gives it a directory of its own for what is temporary, and fails it when a process that it
 * started still lives at its end, or when a file, a socket or a mount is left in that directory.
 */
import { mkdtempSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll } from 'vitest';

/** For processes that have been told to end. */
const END_MS = 5_000;
const POLL_MS = 50;
/** The bundler's own helper: it ends with the process that has loaded the bundler. */
const BUILDER = /\/esbuild --service=/;

const directory = mkdtempSync(join(tmpdir(), 'tsk-'));
process.env.TMPDIR = directory;

/** Command lines of the children of this process. */
function children(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        if (Number(parent) !== process.pid || state === 'Z') return [];
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return BUILDER.test(command) ? [] : [`process ${pid}: ${command}`];
      } catch {
        return [];
      }
    });
}

function mounts(): string[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return lines.filter((line) => line.includes(` ${directory}/`)).map((line) => `mount: ${line}`);
}

const files = (): string[] => readdirSync(directory).map((name) => `file: ${join(directory, name)}`);

afterAll(async () => {
  const deadline = performance.now() + END_MS;
  let left = [...children(), ...mounts(), ...files()];
  while (left.length > 0 && performance.now() < deadline) {
    await setTimeout(POLL_MS);
    left = [...children(), ...mounts(), ...files()];
  }
  if (left.length > 0) throw new Error(`left behind:\n${left.join('\n')}`);
  rmdirSync(directory);
});
