/**
 * Messages: a table of fields per type, and one encoder and decoder that walk it.
 *
 * The generated files hold nothing but such tables and their interfaces, so a message costs some hundred bytes in the
 * agent instead of a function each. What a decoder returns is complete (every field present, absent ones at their
 * default or undefined); what an encoder takes is partial. Unknown fields are skipped. Maps are Map objects, so no key
 * can name anything of the language's. It knows no connection.
 */
import { Code, TskataError } from './errors.ts';
import { MAX_MESSAGE_DEPTH, MAX_MESSAGE_ELEMENTS } from './limits.ts';
import { findScalar, type Scalar, type ScalarName } from './scalar.ts';
import { WireReader, WireWriter } from './wire.ts';

/** What an encoder takes for a message: any part of it, and numbers for 64-bit fields while they are exact. */
export type Init<T> = T extends bigint
  ? bigint | number
  : T extends string | number | boolean | Uint8Array | undefined
    ? T
    : T extends ReadonlyMap<infer K, infer V>
      ? ReadonlyMap<K, Init<V>>
      : T extends readonly (infer E)[]
        ? readonly Init<E>[]
        : { readonly [P in keyof T]?: Init<T[P]> | undefined };

/** A message type: the codec of `T`. */
export interface MessageType<T> {
  /** Full name, as containerd's type URLs have it ("containerd.events.TaskExit"). */
  readonly typeName: string;
  encode(value: Init<T>): Uint8Array;
  /** Throws a TskataError (invalid argument) for what is not such a message. The input may be reused afterwards. */
  decode(bytes: Uint8Array): T;
  /** A message with every field at its default, overlaid with `value`. */
  create(value?: Init<T>): T;
}

type Kind = ScalarName | MessageType<unknown>;
type Rule = 'one' | 'optional' | 'repeated' | 'map';

/** One field; made by `field`, `optional`, `repeated` and `map`. */
export interface Field {
  readonly number: number;
  readonly name: string;
  readonly rule: Rule;
  readonly scalar: Scalar | undefined;
  readonly message: TableType | undefined;
  readonly key: Scalar | undefined;
  readonly oneof: string | undefined;
}

function make(rule: Rule, number: number, name: string, kind: Kind, key?: ScalarName, oneof?: string): Field {
  const scalar = typeof kind === 'string' ? findScalar(kind) : undefined;
  const message = typeof kind === 'string' ? undefined : (kind as TableType);
  return { number, name, rule, scalar, message, key: key === undefined ? undefined : findScalar(key), oneof };
}

/** A singular field. A message, and a member of a oneof, is undefined when absent. */
export function field(number: number, name: string, kind: Kind, oneof?: string): Field {
  return make('one', number, name, kind, undefined, oneof);
}

/** A scalar with presence. */
export function optional(number: number, name: string, kind: ScalarName): Field {
  return make('optional', number, name, kind);
}

export function repeated(number: number, name: string, kind: Kind): Field {
  return make('repeated', number, name, kind);
}

export function map(number: number, name: string, key: ScalarName, kind: Kind): Field {
  return make('map', number, name, kind, key);
}

/** Declares a message type. The table is asked for at the first use, so that types can name each other. */
export function message<T>(typeName: string, fields: () => readonly Field[]): MessageType<T> {
  return new TableType(typeName, fields) as unknown as MessageType<T>;
}

type Values = Record<string, unknown>;

/** What one decode may still cost. */
interface Budget {
  elements: number;
}

class TableType {
  readonly typeName: string;
  private readonly source: () => readonly Field[];
  private table: readonly Field[] | undefined;
  private index: Map<number, Field> | undefined;

  constructor(typeName: string, source: () => readonly Field[]) {
    this.typeName = typeName;
    this.source = source;
  }

  private get fields(): readonly Field[] {
    this.table ??= this.source();
    return this.table;
  }

  private get byNumber(): Map<number, Field> {
    this.index ??= new Map(this.fields.map((entry) => [entry.number, entry]));
    return this.index;
  }

  encode(value: Values): Uint8Array {
    const writer = new WireWriter();
    this.write(writer, value);
    return writer.finish();
  }

  decode(bytes: Uint8Array): Values {
    const reader = new WireReader(bytes);
    const result = this.blank();
    this.read(reader, result, { elements: MAX_MESSAGE_ELEMENTS }, 0);
    return result;
  }

  create(value?: Values): Values {
    return this.decode(this.encode(value ?? {}));
  }

  private blank(): Values {
    const result: Values = {};
    for (const entry of this.fields) result[entry.name] = initial(entry);
    return result;
  }

  private write(writer: WireWriter, values: Values): void {
    for (const entry of this.fields) {
      const value = values[entry.name];
      if (value === undefined || value === null) continue;
      if (entry.rule === 'repeated') this.writeList(writer, entry, value as readonly unknown[]);
      else if (entry.rule === 'map') this.writeMap(writer, entry, value as ReadonlyMap<unknown, unknown>);
      else if (hasPresence(entry) || !entry.scalar?.isDefault(value)) this.writeOne(writer, entry, value, entry.number);
    }
  }

  private writeOne(writer: WireWriter, entry: Field, value: unknown, number: number): void {
    if (entry.message) {
      writer.uint32((number << 3) | 2);
      const start = writer.open();
      entry.message.write(writer, value as Values);
      writer.close(start);
    } else if (entry.scalar) {
      writer.uint32((number << 3) | entry.scalar.wireType);
      if (!entry.scalar.write(writer, value)) this.refuse(entry, value);
    }
  }

  private writeList(writer: WireWriter, entry: Field, list: readonly unknown[]): void {
    if (list.length === 0) return;
    if (!entry.scalar?.packable) {
      for (const value of list) this.writeOne(writer, entry, value, entry.number);
      return;
    }
    writer.uint32((entry.number << 3) | 2);
    const start = writer.open();
    for (const value of list) if (!entry.scalar.write(writer, value)) this.refuse(entry, value);
    writer.close(start);
  }

  private writeMap(writer: WireWriter, entry: Field, values: ReadonlyMap<unknown, unknown>): void {
    const keyScalar = entry.key as Scalar;
    for (const [key, value] of values) {
      writer.uint32((entry.number << 3) | 2);
      const start = writer.open();
      writer.uint32((1 << 3) | keyScalar.wireType);
      if (!keyScalar.write(writer, key)) this.refuse(entry, key);
      this.writeOne(writer, entry, value, 2);
      writer.close(start);
    }
  }

  private refuse(entry: Field, value: unknown): never {
    // Only numbers are shown: strings may be secrets.
    const shown = typeof value === 'number' || typeof value === 'bigint' ? String(value) : typeof value;
    throw new TskataError(
      Code.InvalidArgument,
      `encode message: ${this.typeName}.${entry.name}: ${shown} does not fit ${entry.scalar?.name ?? 'a message'}`,
    );
  }

  private read(reader: WireReader, into: Values, budget: Budget, depth: number): void {
    if (depth > MAX_MESSAGE_DEPTH) this.malformed('it is nested too deeply');
    while (!reader.done) {
      const tag = reader.uint32();
      const wireType = tag & 7;
      const entry = this.byNumber.get(tag >>> 3);
      if (tag >>> 3 === 0) this.malformed('a field has number 0');
      if (entry === undefined) reader.skip(wireType);
      else this.readField(reader, into, entry, wireType, budget, depth);
    }
  }

  private readField(
    reader: WireReader,
    into: Values,
    entry: Field,
    wireType: number,
    budget: Budget,
    depth: number,
  ): void {
    const { scalar, name } = entry;
    if (entry.rule === 'map') {
      if (wireType === 2) this.readEntry(reader, into[name] as Map<unknown, unknown>, entry, budget, depth);
      else reader.skip(wireType);
    } else if (wireType === 2 && entry.rule === 'repeated' && scalar?.packable) {
      const outer = reader.enter(reader.uint32());
      const list = into[name] as unknown[];
      while (!reader.done) {
        this.spend(budget);
        list.push(scalar.read(reader));
      }
      reader.leave(outer);
    } else if (wireType !== (scalar ? scalar.wireType : 2)) {
      reader.skip(wireType);
    } else if (entry.rule === 'repeated') {
      this.spend(budget);
      (into[name] as unknown[]).push(this.readValue(reader, entry, undefined, budget, depth));
    } else {
      if (entry.oneof !== undefined) this.clear(into, entry);
      into[name] = this.readValue(reader, entry, into[name], budget, depth);
    }
  }

  /** The last member of a oneof on the wire is the one that counts. */
  private clear(into: Values, entry: Field): void {
    for (const other of this.fields) {
      if (other.oneof === entry.oneof && other !== entry) into[other.name] = undefined;
    }
  }

  private readValue(reader: WireReader, entry: Field, before: unknown, budget: Budget, depth: number): unknown {
    const type = entry.message;
    if (type === undefined) return (entry.scalar as Scalar).read(reader);
    this.spend(budget);
    const outer = reader.enter(reader.uint32());
    // A singular message that comes twice is merged, as protobuf prescribes.
    const value = (before as Values | undefined) ?? type.blank();
    type.read(reader, value, budget, depth + 1);
    reader.leave(outer);
    return value;
  }

  private readEntry(
    reader: WireReader,
    into: Map<unknown, unknown>,
    entry: Field,
    budget: Budget,
    depth: number,
  ): void {
    this.spend(budget);
    const keyScalar = entry.key as Scalar;
    const valueType = entry.scalar ? entry.scalar.wireType : 2;
    let key: unknown = keyScalar.initial();
    let value: unknown;
    const outer = reader.enter(reader.uint32());
    while (!reader.done) {
      const tag = reader.uint32();
      if (tag === ((1 << 3) | keyScalar.wireType)) key = keyScalar.read(reader);
      else if (tag === ((2 << 3) | valueType)) value = this.readValue(reader, entry, undefined, budget, depth);
      else reader.skip(tag & 7);
    }
    reader.leave(outer);
    into.set(key, value ?? (entry.message ? entry.message.blank() : (entry.scalar as Scalar).initial()));
  }

  private spend(budget: Budget): void {
    if (--budget.elements < 0) this.malformed(`it has more than ${MAX_MESSAGE_ELEMENTS} elements`);
  }

  private malformed(fact: string): never {
    throw new TskataError(Code.InvalidArgument, `decode message: ${this.typeName}: ${fact}`);
  }
}

function hasPresence(entry: Field): boolean {
  return entry.rule === 'optional' || entry.message !== undefined || entry.oneof !== undefined;
}

function initial(entry: Field): unknown {
  if (entry.rule === 'repeated') return [];
  if (entry.rule === 'map') return new Map();
  return hasPresence(entry) ? undefined : (entry.scalar as Scalar).initial();
}
