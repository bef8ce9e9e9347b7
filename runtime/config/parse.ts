/**
 * Text to configuration: TOML, drop-ins over it, the schema, and errors that name file and key. Pure. Refuses to know
 * where the texts come from.
 */
import { parse, TomlError } from 'smol-toml';
import { z } from 'zod';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { nearest } from './nearest.ts';
import { type Config, configSchema, contradictions } from './schema.ts';

/** One file's content. */
export interface ConfigText {
  readonly path: string;
  readonly text: string;
}

type Table = Record<string, unknown>;

const MAX_PROBLEMS_SHOWN = 5;

/**
 * The configuration that the files make together: later ones replace the values of earlier ones, key by key; a list is
 * one value. Each file is checked by itself, so that an error names the file that holds the mistake.
 * @throws TskataError InvalidArgument.
 */
export function parseConfig(files: readonly ConfigText[]): Config {
  let merged: Table = {};
  for (const { path, text } of files) {
    const table = parseToml(path, text);
    check(path, table);
    merged = merge(merged, table);
  }
  const config = check('the configuration', merged);
  const wrong = [...contradictions(config)];
  if (wrong.length > 0) throw invalid(files.map(({ path }) => path).join(' with ') || 'the configuration', wrong);
  return config;
}

function parseToml(path: string, text: string): Table {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [fact = 'not TOML'] = error.message.replace(/^Invalid TOML document: /, '').split('\n');
    throw new TskataError(Code.InvalidArgument, `read ${path}: line ${error.line}, column ${error.column}: ${fact}`);
  }
}

function check(path: string, table: Table): Config {
  const parsed = configSchema.safeParse(table);
  if (parsed.success) return parsed.data;
  throw invalid(path, parsed.error.issues.flatMap(describe));
}

function invalid(path: string, problems: readonly string[]): TskataError {
  const shown = problems.slice(0, MAX_PROBLEMS_SHOWN);
  if (problems.length > shown.length) shown.push(`and ${problems.length - shown.length} more`);
  return new TskataError(Code.InvalidArgument, `read ${path}: ${shown.join('; ')}`);
}

function describe(issue: z.core.$ZodIssue): string[] {
  if (issue.code !== 'unrecognized_keys') {
    return [`${issue.path.join('.')}: ${issue.message.replace(/^Invalid (input|option): /, '')}`];
  }
  return issue.keys.map((key) => {
    const near = nearest(key, keysAt(issue.path));
    const hint = near === undefined ? '' : `; did you mean ${JSON.stringify(near)}?`;
    return `${[...issue.path, key].join('.')}: unknown key${hint}`;
  });
}

/** The known keys of a table of the file. */
function keysAt(path: readonly PropertyKey[]): string[] {
  const [table] = path;
  if (table === undefined) return Object.keys(configSchema.shape);
  const inner = unwrap(configSchema.shape[table as keyof typeof configSchema.shape]);
  return inner instanceof z.ZodObject ? Object.keys(inner.shape) : [];
}

/** The type below defaults. */
export function unwrap(type: z.ZodType): z.ZodType {
  let inner: unknown = type;
  while (inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault || inner instanceof z.ZodOptional) {
    inner = inner.unwrap();
  }
  return inner as z.ZodType;
}

/** Tables are merged, everything else is replaced. Both have been checked, so that only known keys are there. */
function merge(base: Table, over: Table): Table {
  const merged = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const old = merged[key];
    merged[key] = isTable(value) && isTable(old) ? { ...old, ...value } : value;
  }
  return merged;
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
