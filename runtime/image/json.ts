/**
 * Owns checked reading of JSON that others wrote (manifests, configurations): fields that are not asked for are left
 * alone, null counts as absent, every wrong type is an error that names its path. It does not know what it reads.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';

/** A view on one object of a document. */
export class Json {
  readonly #fields: ReadonlyMap<string, unknown>;
  /** Document and JSON path, for messages. */
  readonly path: string;

  constructor(value: unknown, path: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(path, 'an object');
    this.#fields = new Map(Object.entries(value));
    this.path = path;
  }

  /** Parses a document. `name` says which one. */
  static parse(bytes: Uint8Array | string, name: string): Json {
    let value: unknown;
    try {
      value = JSON.parse(typeof bytes === 'string' ? bytes : new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    } catch {
      throw new TskataError(Code.InvalidArgument, `read ${name} - it is not JSON`);
    }
    return new Json(value, name);
  }

  has(key: string): boolean {
    return (this.#fields.get(key) ?? null) !== null;
  }

  string(key: string): string {
    const value = this.optionalString(key);
    if (value === undefined) throw wrong(`${this.path}.${key}`, 'a string');
    return value;
  }

  optionalString(key: string): string | undefined {
    const value = this.#fields.get(key) ?? undefined;
    if (value === undefined || typeof value === 'string') return value;
    throw wrong(`${this.path}.${key}`, 'a string');
  }

  /** A non-negative safe integer. */
  size(key: string): number {
    const value = this.#fields.get(key);
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    throw wrong(`${this.path}.${key}`, 'a whole number');
  }

  object(key: string): Json {
    return new Json(this.#fields.get(key), `${this.path}.${key}`);
  }

  optionalObject(key: string): Json | undefined {
    return this.has(key) ? this.object(key) : undefined;
  }

  objects(key: string): Json[] {
    return this.#array(key).map((value, index) => new Json(value, `${this.path}.${key}[${index}]`));
  }

  /** Empty when absent. */
  strings(key: string): string[] {
    return this.#array(key).map((value, index) => {
      if (typeof value !== 'string') throw wrong(`${this.path}.${key}[${index}]`, 'a string');
      return value;
    });
  }

  /** Names of the object's fields. */
  keys(): string[] {
    return [...this.#fields.keys()];
  }

  #array(key: string): unknown[] {
    const value = this.#fields.get(key) ?? [];
    if (Array.isArray(value)) return value;
    throw wrong(`${this.path}.${key}`, 'a list');
  }
}

function wrong(path: string, expected: string): TskataError {
  return new TskataError(Code.InvalidArgument, `read ${path} - it is not ${expected}`);
}
