/** What the guest's kernel and agent said, for --debug. The file has lines that are safe for a terminal, a bounded number. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Prints it to standard error, each line marked; nothing when no machine came to be. */
export async function showConsole(runDirectory: string): Promise<void> {
  const text = await readFile(join(runDirectory, 'console.log'), 'utf8').catch(() => '');
  for (const line of text.split('\n').filter(Boolean)) process.stderr.write(`console: ${line}\n`);
}
