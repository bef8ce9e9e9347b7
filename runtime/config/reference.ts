/** The reference of all keys as Markdown, made from the schema, so that it cannot say something else. Pure. */
import { z } from 'zod';
import { unwrap } from './parse.ts';
import { configSchema } from './schema.ts';

/** Tables of keys, in the order of the schema; those outside of any table first. */
export function reference(): string {
  const entries = Object.entries<z.ZodType>(configSchema.shape);
  const plain = entries.filter(([, type]) => !(unwrap(type) instanceof z.ZodObject));
  const sections = [`${HEAD}${plain.map(row).join('')}`];
  for (const [name, type] of entries) {
    const table = unwrap(type);
    if (!(table instanceof z.ZodObject)) continue;
    const rows = Object.entries<z.ZodType>(table.shape).map(row).join('');
    sections.push(`### [${name}]\n\n${type.description ?? ''}\n\n${HEAD}${rows}`);
  }
  return sections.join('\n');
}

const HEAD = '| key | type | default | meaning |\n| --- | --- | --- | --- |\n';

function row([name, type]: [string, z.ZodType]): string {
  const fallback = type instanceof z.ZodDefault ? `\`${JSON.stringify(type.def.defaultValue)}\`` : '';
  return `| \`${name}\` | ${describeType(unwrap(type))} | ${fallback} | ${type.description ?? ''} |\n`;
}

function describeType(type: z.ZodType): string {
  if (type instanceof z.ZodBoolean) return 'boolean';
  if (type instanceof z.ZodEnum) return type.options.map((option) => `\`"${option}"\``).join(' or ');
  if (type instanceof z.ZodArray) return `list of ${describeType(type.element as z.ZodType)}`;
  if (type instanceof z.ZodNumber) return `${type.minValue} to ${type.maxValue}`;
  return 'string';
}
