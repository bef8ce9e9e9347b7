/** What a shim reads from outside, with a fixed seed: only typed errors, and nothing of the language's own is touched. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TskataError } from '../../agent/protocol/errors.ts';
import { readOptions } from '../../runtime/sandbox/config.ts';
import { JsonShapeError } from '../../runtime/state/json-reader.ts';
import { decodeRecord } from '../../runtime/state/record.ts';
import { checkMountOptions } from '../../runtime/storage/mount-options.ts';
import { decodeAssign } from '../../shim/assign.ts';
import { LineSplitter } from '../../shim/io/log-file.ts';
import { testPolicies } from '../helpers/policies.ts';

const SETTINGS = { seed: 20_260_101, numRuns: 2_000 };

const ASSIGN = {
  version: 1,
  namespace: 'default',
  id: 'one',
  bundle: '/b',
  socketPath: '/s',
  runRoot: '/r',
  libRoot: '/l',
  containerdAddress: '',
  ttrpcAddress: '/t',
  publishBinary: '',
  caller: 'containerd',
  configPath: '',
  debug: false,
};

/** A valid object with some fields replaced, dropped or added. */
function damaged(valid: object): fc.Arbitrary<string> {
  const key = fc.oneof(fc.constantFrom(...Object.keys(valid), '__proto__', 'constructor', 'toString'), fc.string());
  return fc.array(fc.tuple(key, fc.oneof(fc.jsonValue(), fc.constant(undefined))), { maxLength: 3 }).map((changes) => {
    const copy = new Map<string, unknown>(Object.entries(valid));
    for (const [name, value] of changes) copy.set(name, value);
    return `{${[...copy]
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`)
      .join(',')}}`;
  });
}

function onlyThrows(kinds: readonly (new (...args: never[]) => Error)[], work: () => unknown): void {
  try {
    work();
  } catch (error) {
    expect(
      kinds.some((kind) => error instanceof kind),
      String(error),
    ).toBe(true);
  }
}

test('assign messages', () => {
  expect(decodeAssign(JSON.stringify(ASSIGN))).toMatchObject({ id: 'one', ttrpcAddress: '/t' });
  fc.assert(
    fc.property(fc.oneof(fc.string(), damaged(ASSIGN)), (line) => onlyThrows([TskataError], () => decodeAssign(line))),
    SETTINGS,
  );
  expect(({} as { id?: unknown }).id).toBeUndefined();
});

test('state records', () => {
  const record = {
    version: 1,
    namespace: 'n',
    id: 'i',
    sandbox: 'i',
    bundle: '/b',
    socket: '/s',
    shim: { pid: 1, startTicks: 2 },
    status: 'running',
    createdAt: 'now',
    annotations: {},
  };
  expect(decodeRecord(JSON.stringify(record)).status).toBe('running');
  fc.assert(
    fc.property(fc.oneof(fc.string(), damaged(record)), (text) =>
      onlyThrows([JsonShapeError], () => decodeRecord(text)),
    ),
    SETTINGS,
  );
});

test('annotations', () => {
  const name = fc.constantFrom(
    'io.tskata.publish',
    'io.tskata.dns',
    'io.tskata.network',
    'io.tskata.sandbox.memory',
    'io.tskata.log.path',
    'x',
  );
  const value = fc.oneof(
    fc.string(),
    fc.jsonValue().map((json) => JSON.stringify(json)),
  );
  const policy = testPolicies('command').annotations;
  fc.assert(
    fc.property(fc.dictionary(name, value), (annotations) =>
      onlyThrows([TskataError], () => readOptions(annotations, policy)),
    ),
    SETTINGS,
  );
});

test('mount options: what is returned was asked for', () => {
  const option = fc.oneof(
    fc.string(),
    fc.constantFrom('ro', 'size=64m', 'mode=755', 'size=1;rm', 'lowerdir=/x', '__proto__=1'),
  );
  const type = fc.constantFrom('tmpfs', 'proc', 'bind', 'devpts', '__proto__', 'constructor');
  fc.assert(
    fc.property(type, fc.array(option), (name, options) =>
      onlyThrows([TskataError], () => {
        for (const kept of checkMountOptions(name, options, 'm')) {
          expect(options).toContain(kept);
          expect(kept).toMatch(/^[a-z_0-9]+(=[0-9a-zA-Z%]+)?$/);
        }
      }),
    ),
    SETTINGS,
  );
});

test('lines of a log: together they are the output, and no character is cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string({ unit: 'binary' }), fc.constant('\n'), fc.constant('é'.repeat(9_000)))),
      fc.nat(),
      (parts, cut) => {
        const bytes = Buffer.from(parts.join(''));
        const splitter = new LineSplitter();
        const at = bytes.length === 0 ? 0 : cut % bytes.length;
        const lines = [...splitter.push(bytes.subarray(0, at)), ...splitter.push(bytes.subarray(at)), splitter.rest()];
        expect(Buffer.concat(lines).equals(bytes)).toBe(true);
        for (const line of lines) {
          expect(line.length).toBeLessThanOrEqual(16 * 1024);
          expect(Buffer.from(Buffer.from(line).toString('utf8')).equals(line)).toBe(true);
        }
      },
    ),
    { ...SETTINGS, numRuns: 100 },
  );
});
