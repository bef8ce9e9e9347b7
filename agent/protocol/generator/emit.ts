/**
 * Writes one TypeScript file for one .proto file, from protobufjs' reflection of it: an interface and a field table
 * per message, an object per enum, a description per service. It knows no file system.
 */
import type { Enum, Field, FieldBase, MapField, Namespace, ReflectionObject, Service, Type } from 'protobufjs';

/** What the emitter needs of the library's classes, so that only `generate.ts` imports it. */
export interface Kinds {
  isType(object: ReflectionObject): object is Type;
  isEnum(object: ReflectionObject): object is Enum;
  isService(object: ReflectionObject): object is Service;
  isMap(field: FieldBase): field is MapField;
}

/** One .proto file: its declarations, and where the file of another declaration is found. */
export interface Source {
  /** Path for the head comment. */
  readonly proto: string;
  /** Module specifier of `agent/protocol`, without a slash at the end. */
  readonly protocol: string;
  readonly members: readonly ReflectionObject[];
  /** Module specifier of another generated file, or undefined when the object is declared in this one. */
  moduleOf(object: ReflectionObject): string | undefined;
}

const WIDE = new Set(['int64', 'uint64', 'sint64', 'fixed64', 'sfixed64']);

export function emitFile(source: Source, kinds: Kinds): string {
  const body: string[] = [];
  const imports = new Map<string, Set<string>>();
  const helpers = new Set<string>();
  const refer = (object: ReflectionObject): string => {
    const from = source.moduleOf(object);
    if (from !== undefined) imports.set(from, (imports.get(from) ?? new Set()).add(object.name));
    return object.name;
  };
  const emitter = { kinds, helpers, refer };
  for (const member of source.members) {
    if (kinds.isEnum(member)) body.push(emitEnum(member));
    else if (kinds.isType(member)) body.push(emitMessage(member, emitter));
  }
  // Last: a description of a service names the types as it is made.
  for (const member of source.members) {
    if (kinds.isService(member)) body.push(emitService(member, emitter));
  }
  const head = [`// Generated from ${source.proto} by \`npm run proto\`. Do not edit.`];
  const fromMessage = ['field', 'map', 'message', 'optional', 'repeated'].filter((name) => helpers.has(name));
  if (helpers.has('message')) fromMessage.push('type MessageType');
  if (fromMessage.length > 0) head.push(`import { ${fromMessage.join(', ')} } from '${source.protocol}/message.ts';`);
  if (helpers.has('service')) {
    head.push(`import { method, service } from '${source.protocol}/service.ts';`);
  }
  for (const [from, names] of imports) head.push(`import { ${[...names].sort().join(', ')} } from '${from}';`);
  return `${head.join('\n')}\n\n${body.join('\n\n')}\n`;
}

interface Emitter {
  readonly kinds: Kinds;
  readonly helpers: Set<string>;
  refer(object: ReflectionObject): string;
}

function docs(comment: string | null | undefined, indent: string): string {
  if (!comment) return '';
  const lines = comment.trim().split('\n');
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}\n`).join('')}${indent} */\n`;
}

function emitEnum(object: Enum): string {
  const values = Object.entries(object.values).map(([name, value]) => `  ${name}: ${value},\n`);
  return `${docs(object.comment, '')}export const ${object.name} = {\n${values.join('')}} as const;`;
}

function tsScalar(type: string): string {
  if (WIDE.has(type)) return 'bigint';
  if (type === 'string') return 'string';
  if (type === 'bytes') return 'Uint8Array';
  return type === 'bool' ? 'boolean' : 'number';
}

/** The TypeScript type of one value of a field, and the expression of its kind in the table. */
function valueType(
  entry: Field,
  emitter: Emitter,
): { readonly type: string; readonly kind: string; readonly message: boolean } {
  const resolved = entry.resolvedType;
  if (resolved === null) return { type: tsScalar(entry.type), kind: `'${entry.type}'`, message: false };
  if (emitter.kinds.isEnum(resolved)) return { type: 'number', kind: `'int32'`, message: false };
  const name = emitter.refer(resolved);
  return { type: name, kind: name, message: true };
}

function emitField(entry: Field, emitter: Emitter): { readonly property: string; readonly row: string } {
  const { kinds, helpers } = emitter;
  const value = valueType(entry, emitter);
  // protobufjs models `optional` as a oneof of one member, whose name begins with an underscore.
  const oneof = entry.partOf && !entry.partOf.name.startsWith('_') ? entry.partOf.name : undefined;
  const start = `${entry.id}, '${entry.name}'`;
  let type = value.type;
  let row: string;
  if (kinds.isMap(entry)) {
    helpers.add('map');
    type = `ReadonlyMap<${tsScalar(entry.keyType)}, ${value.type}>`;
    row = `map(${start}, '${entry.keyType}', ${value.kind})`;
  } else if (entry.repeated) {
    helpers.add('repeated');
    type = `readonly ${value.type}[]`;
    row = `repeated(${start}, ${value.kind})`;
  } else if (entry.partOf && oneof === undefined && !value.message) {
    helpers.add('optional');
    type = `${value.type} | undefined`;
    row = `optional(${start}, ${value.kind})`;
  } else {
    helpers.add('field');
    if (value.message || oneof !== undefined) type = `${value.type} | undefined`;
    row = `field(${start}, ${value.kind}${oneof === undefined ? '' : `, '${oneof}'`})`;
  }
  return { property: `${docs(entry.comment, '  ')}  readonly ${entry.name}: ${type};\n`, row: `  ${row},\n` };
}

function fullName(object: Namespace): string {
  return object.fullName.replace(/^\./, '');
}

function emitMessage(object: Type, emitter: Emitter): string {
  emitter.helpers.add('message');
  const fields = object.fieldsArray.map((entry) => emitField(entry, emitter));
  const properties = fields.map((entry) => entry.property).join('');
  const shape =
    properties === ''
      ? `export type ${object.name} = Readonly<Record<never, never>>;`
      : `export interface ${object.name} {\n${properties}}`;
  const rows = fields.map((entry) => entry.row).join('');
  const table = rows === '' ? '[]' : `[\n${rows}]`;
  return `${docs(object.comment, '')}${shape}\n\nexport const ${object.name}: MessageType<${object.name}> = message('${fullName(object)}', () => ${table});`;
}

function emitService(object: Service, emitter: Emitter): string {
  emitter.helpers.add('service');
  const rows = object.methodsArray.map((entry) => {
    const request = entry.resolvedRequestType;
    const response = entry.resolvedResponseType;
    if (!request || !response) throw new Error(`generate: ${object.fullName}.${entry.name}: unresolved`);
    const key = entry.name.charAt(0).toLowerCase() + entry.name.slice(1);
    return `${docs(entry.comment, '  ')}  ${key}: method('${entry.name}', ${emitter.refer(request)}, ${emitter.refer(response)}),\n`;
  });
  return `${docs(object.comment, '')}export const ${object.name} = service('${fullName(object)}', {\n${rows.join('')}});`;
}
