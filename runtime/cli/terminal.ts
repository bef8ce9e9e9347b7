/**
 * The caller's terminal while it is lent to a container: raw mode, size, and its return to what it was whatever happens.
 * It knows nothing of where the bytes go.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { WriteStream } from 'node:tty';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { deadline } from './wait.ts';

/** Descriptor of the helper's by which it knows that we live. */
const LINK = 3;
/** It takes a millisecond; one that somebody has stopped must not hold up our own end. */
const GIVE_BACK_MS = 1_000;

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

const FALLBACK: TerminalSize = { rows: 24, columns: 80 };

/** Size of the terminal behind a stream. */
export function terminalSize(stream: Partial<Pick<WriteStream, 'rows' | 'columns'>>): TerminalSize {
  return { rows: stream.rows ?? FALLBACK.rows, columns: stream.columns ?? FALLBACK.columns };
}

/**
 * Makes the terminal on standard input raw; the result gives it back. A process of the helper's holds it meanwhile, in a
 * session of its own, so that it comes back also when this process is killed.
 */
export async function lendTerminal(programs: string): Promise<() => Promise<void>> {
  const holder = spawn(join(programs, 'tskata-helper'), ['lend-terminal'], {
    stdio: ['inherit', 'ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const link = holder.stdio[LINK] as Duplex;
  const ended = new Promise<void>((resolve) => {
    holder.once('close', () => resolve());
    holder.once('error', () => resolve());
  });
  // Its end is what counts, however it comes.
  link.on('error', () => undefined);
  let words = '';
  holder.stderr?.on('data', (bytes: Buffer) => {
    words += bytes.toString();
  });
  const lent = await Promise.race([once(link, 'data').then(() => true), ended.then(() => false)]);
  if (!lent) throw new TskataError(Code.Internal, `make the terminal raw: ${words.trim() || 'the helper ended'}`);
  return async () => {
    link.destroy();
    await Promise.race([ended, deadline(GIVE_BACK_MS)]);
  };
}
