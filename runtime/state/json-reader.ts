/**
 * Owns strict reading of small JSON objects by name and type. Refuses to know what they describe.
 */

/** A JSON value that has not the expected shape; the message begins with its JSON path. */
export class JsonShapeError extends Error {
  override readonly name = 'JsonShapeError';
}

/** Reads own properties of one JSON object by name and type, and remembers which. */
export class JsonReader {
  readonly #fields: ReadonlyMap<string, unknown>;
  readonly #path: string;
  readonly #read = new Set<string>();

  constructor(value: unknown, path: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new JsonShapeError(`${path}: not an object`);
    this.#fields = new Map(Object.entries(value));
    this.#path = path;
  }

  has(key: string): boolean {
    return this.#fields.has(key);
  }

  string(key: string): string {
    return this.#typed(key, 'string') as string;
  }

  boolean(key: string): boolean {
    return this.#typed(key, 'boolean') as boolean;
  }

  /** A non-negative safe integer. */
  number(key: string): number {
    const value = this.#typed(key, 'number') as number;
    if (!Number.isSafeInteger(value) || value < 0) throw new JsonShapeError(`${this.#path}.${key}: not a whole number`);
    return value;
  }

  oneOf<const T extends string>(key: string, allowed: readonly T[]): T {
    const value = this.string(key);
    const found = allowed.find((item) => item === value);
    if (found === undefined)
      throw new JsonShapeError(`${this.#path}.${key}: '${value}' is none of ${allowed.join(', ')}`);
    return found;
  }

  object(key: string): JsonReader {
    this.#read.add(key);
    return new JsonReader(this.#fields.get(key), `${this.#path}.${key}`);
  }

  optionalObject(key: string): JsonReader | undefined {
    return this.#fields.has(key) ? this.object(key) : undefined;
  }

  stringMap(): Record<string, string> {
    const result: Record<string, string> = Object.create(null) as Record<string, string>;
    for (const key of this.#fields.keys()) result[key] = this.string(key);
    return { ...result };
  }

  refuseUnread(): void {
    for (const key of this.#fields.keys()) {
      if (!this.#read.has(key)) throw new JsonShapeError(`${this.#path}.${key}: unknown field`);
    }
  }

  #typed(key: string, type: 'string' | 'number' | 'boolean'): unknown {
    this.#read.add(key);
    const value = this.#fields.get(key);
    if (typeof value !== type) throw new JsonShapeError(`${this.#path}.${key}: not a ${type}`);
    return value;
  }
}
