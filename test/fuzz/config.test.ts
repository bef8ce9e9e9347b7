/** The configuration file: whatever is in it, it is refused with an error of ours, or every value is within its range. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TskataError } from '../../agent/protocol/errors.ts';
import { parseConfig } from '../../runtime/config/parse.ts';
import { configSchema } from '../../runtime/config/schema.ts';

const SETTINGS = { seed: 20_261_125, numRuns: 1_500 };

function judge(...texts: readonly string[]): void {
  try {
    const config = parseConfig(texts.map((text, index) => ({ path: `/${index}.toml`, text })));
    expect(configSchema.safeParse(config).success).toBe(true);
    expect(Object.keys(config).sort()).toEqual(Object.keys(configSchema.shape).sort());
  } catch (error) {
    expect(error, String(error)).toBeInstanceOf(TskataError);
  }
}

const tables = ['machine', 'jail', 'network', 'log', 'cgroup', '__proto__', 'constructor', 'x'];
const keys = [
  'profile',
  'accelerator',
  'kernel',
  'default_memory_mib',
  'max_vcpus',
  'first_uid',
  'uid_count',
  'level',
  'allowed_destinations',
  'parent',
  'enabled',
  '__proto__',
  'toString',
  'enable_annotations',
];
const values = fc.oneof(
  fc.integer().map(String),
  fc.double().map(String),
  fc.string().map((text) => JSON.stringify(text)),
  fc.constantFrom(
    'true',
    'inf',
    'nan',
    '[]',
    '{}',
    '[1,"2"]',
    '1979-05-27T07:32:00Z',
    '99999999999999999999',
    "'/x'",
    '"kvm"',
  ),
);
const document = fc
  .array(fc.tuple(fc.constantFrom(...tables), fc.constantFrom(...keys), values, fc.boolean()), { maxLength: 6 })
  .map((entries) =>
    entries
      .map(([table, key, value, dotted]) => (dotted ? `${table}.${key} = ${value}` : `[${table}]\n${key} = ${value}`))
      .join('\n'),
  );

test('any text', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' })), (text) => judge(text)),
    SETTINGS,
  );
});

test('nearly a configuration, in one file and in two', () => {
  fc.assert(
    fc.property(document, document, (first, second) => {
      judge(first);
      judge(first, second);
    }),
    SETTINGS,
  );
  expect(({} as { profile?: unknown }).profile).toBeUndefined();
});
