/** Command lines as Go's flag package reads them, which is how containerd writes them. Pure. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';

/** What a command line says. */
export interface GoCommandLine<S extends string, B extends string> {
  readonly strings: Readonly<Record<S, string>>;
  readonly booleans: Readonly<Record<B, boolean>>;
  /** What follows the flags. */
  readonly rest: readonly string[];
}

/**
 * Reads flags up to the first word that is none: `-x v`, `-x=v`, with one dash or two. The last of equal flags counts.
 * @throws TskataError (InvalidArgument) for a flag that is unknown or has no value.
 */
export function parseGoFlags<S extends string, B extends string>(
  args: readonly string[],
  strings: readonly S[],
  booleans: readonly B[],
): GoCommandLine<S, B> {
  const values = Object.fromEntries(strings.map((name) => [name, ''])) as Record<S, string>;
  const switches = Object.fromEntries(booleans.map((name) => [name, false])) as Record<B, boolean>;
  let index = 0;
  for (; index < args.length; index++) {
    const arg = args[index] ?? '';
    if (arg === '--') {
      index += 1;
      break;
    }
    const match = /^--?([^=-][^=]*)(?:=([\s\S]*))?$/.exec(arg);
    if (match?.[1] === undefined) break;
    const [, name, value] = match;
    const asString = strings.find((known) => known === name);
    const asBoolean = booleans.find((known) => known === name);
    if (asString !== undefined) {
      if (value === undefined) index += 1;
      const given = value ?? args[index];
      if (given === undefined) throw invalid(`flag -${name} needs a value`);
      values[asString] = given;
    } else if (asBoolean !== undefined) switches[asBoolean] = parseBoolean(name, value);
    else throw invalid(`unknown flag -${name}`);
  }
  return { strings: values, booleans: switches, rest: args.slice(index) };
}

function parseBoolean(name: string, value: string | undefined): boolean {
  if (value === undefined || ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(value)) return true;
  if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(value)) return false;
  throw invalid(`flag -${name}: ${JSON.stringify(value)} is no boolean`);
}

function invalid(fact: string): TskataError {
  return new TskataError(Code.InvalidArgument, `read the command line: ${fact}`);
}
