/** The program `talk`, built once for a test file: servers and clients of both protocols and families. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../runtime/host/process.ts';

const COMPILE_MS = 60_000;

/** The program and its directory. */
export interface Talk {
  readonly program: string;
  remove(): void;
}

export async function buildTalk(): Promise<Talk> {
  const directory = mkdtempSync(join(tmpdir(), 'tskata-talk-'));
  const program = join(directory, 'talk');
  const source = join(import.meta.dirname, 'talk.c');
  await run('gcc', ['-static', '-O1', '-Wall', '-s', '-o', program, source], { timeoutMs: COMPILE_MS });
  return { program, remove: () => rmSync(directory, { recursive: true, force: true }) };
}
