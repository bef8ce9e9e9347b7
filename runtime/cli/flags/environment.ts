/** -e and --env-file, with docker's meaning: a name alone takes its value from the caller's environment. */
import { readFileSync } from 'node:fs';
import { Code, TskataError } from '../../../agent/protocol/errors.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** NAME=value entries; a name that the caller's environment lacks is left out. */
export function parseEnvironment(flag: string, entries: readonly string[], own: Environment): string[] {
  return entries.flatMap((entry) => {
    if (entry === '' || entry.startsWith('='))
      throw new TskataError(Code.InvalidArgument, `${flag} ${entry}: has no name`);
    if (entry.includes('=')) return [entry];
    const value = own[entry];
    return value === undefined ? [] : [`${entry}=${value}`];
  });
}

/** A file of NAME=value or NAME lines; empty lines and lines that begin with # are skipped. */
export function readEnvironmentFile(flag: string, file: string, own: Environment): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new TskataError(Code.InvalidArgument, `${flag} ${file}: ${(error as Error).message}`);
  }
  const lines = text.split(/\r?\n/).map((line) => line.trimStart());
  const entries = lines.filter((line) => line !== '' && !line.startsWith('#'));
  for (const entry of entries) {
    const name = entry.split('=', 1)[0] ?? '';
    if (/\s/.test(name))
      throw new TskataError(
        Code.InvalidArgument,
        `${flag} ${file}: ${JSON.stringify(name)} has white space in its name`,
      );
  }
  return parseEnvironment(`${flag} ${file}`, entries, own);
}
