/**
 * The caller's terminal while it is lent to a container: raw mode, resize, and its return to what it was whatever
 * happens. It knows nothing of where the bytes go.
 */
import type { ReadStream, WriteStream } from 'node:tty';

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

const FALLBACK: TerminalSize = { rows: 24, columns: 80 };

/** Size of the terminal behind a stream. */
export function terminalSize(stream: Partial<Pick<WriteStream, 'rows' | 'columns'>>): TerminalSize {
  return { rows: stream.rows ?? FALLBACK.rows, columns: stream.columns ?? FALLBACK.columns };
}

/** Switches the terminal to raw mode; the result switches it back, once, and also runs when the process exits. */
export function lendTerminal(input: ReadStream): () => void {
  if (!input.isTTY) return () => undefined;
  let lent = true;
  const giveBack = (): void => {
    if (!lent) return;
    lent = false;
    process.off('exit', giveBack);
    input.setRawMode(false);
  };
  input.setRawMode(true);
  process.on('exit', giveBack);
  return giveBack;
}
