/** Values of flags: whatever a person or a script writes is understood or refused, with the flag, by an error of ours. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TskataError } from '../../agent/protocol/errors.ts';
import { parseEnvironment } from '../../runtime/cli/flags/environment.ts';
import { parseCpus, parsePairs, parsePids, parseUlimit } from '../../runtime/cli/flags/limits.ts';
import { parsePublish } from '../../runtime/cli/flags/publish.ts';
import { parseSize } from '../../runtime/cli/flags/size.ts';
import { parseMount, parseTmpfs, parseVolume } from '../../runtime/cli/flags/volume.ts';
import { parseSignal } from '../../runtime/cli/signals.ts';

const SETTINGS = { seed: 20_261_127, numRuns: 2_000 };

/** Parts that the forms are made of, in any order. */
const part = fc.oneof(
  fc.constantFrom('', '.', '..', '/', '/a', './a', '__proto__', 'ro', 'rw', 'rslave', 'tcp', 'udp', '::1', '127.0.0.1'),
  fc.constantFrom('type', 'bind', 'tmpfs', 'source', 'destination', 'tmpfs-size', 'tmpfs-mode', 'readonly', 'nofile'),
  fc.constantFrom('0', '1', '-1', '80', '65535', '65536', '8000-8005', '5-1', '1e9', '0x10', '9'.repeat(400), 'k', 'g'),
  fc.constantFrom('KILL', 'SIGTERM', 'RTMIN', '+', 'constructor', 'toString', '\n', '\0'),
  fc.string({ unit: 'binary', maxLength: 6 }),
);
const between = fc.constantFrom(':', '=', ',', '/', '-', '', '[', ']');
const number = fc
  .tuple(
    fc.constantFrom('', '-', 'nofile='),
    fc.integer({ min: 1, max: 400 }),
    fc.constantFrom('', '.5', 't', ':1', 'e9'),
  )
  .map(([before, digits, after]) => `${before}${'9'.repeat(digits)}${after}`);
const composed = fc.array(fc.tuple(part, between), { maxLength: 7 }).map((parts) => parts.flat().join(''));
const text = fc.oneof({ weight: 4, arbitrary: composed }, number);

/** Judges what a value was understood as. */
function check<T>(parse: (flag: string, text: string) => T, judge: (value: T) => void): void {
  fc.assert(
    fc.property(text, (value) => {
      let result: T;
      try {
        result = parse('--flag', value);
      } catch (error) {
        expect(error, String(error)).toBeInstanceOf(TskataError);
        expect((error as Error).message).toContain('--flag');
        return;
      }
      judge(result);
    }),
    SETTINGS,
  );
}

test('ports', () => {
  check(parsePublish, (ports) => {
    expect(ports.length).toBeGreaterThan(0);
    for (const { hostPort, containerPort } of ports) {
      for (const port of [hostPort, containerPort]) {
        expect(Number.isInteger(port) && port >= 0 && port <= 65_535, String(port)).toBe(true);
      }
    }
  });
});

test('limits and sizes', () => {
  check(parseUlimit, ({ soft, hard }) => {
    expect(soft).toBeLessThanOrEqual(hard);
    expect(hard).toBeLessThanOrEqual(2 ** 64);
  });
  check(parseCpus, (cpus) => expect(Number.isFinite(cpus) && cpus > 0, String(cpus)).toBe(true));
  check(parsePids, (pids) => expect(Number.isSafeInteger(pids) && (pids === -1 || pids > 0), String(pids)).toBe(true));
  check(parseSize, (bytes) => expect(Number.isSafeInteger(bytes) && bytes >= 0, String(bytes)).toBe(true));
  check(parseSignal, (signal) => expect(Number.isInteger(signal) && signal >= 1 && signal <= 64).toBe(true));
});

test('volumes', () => {
  const inside = (path: string): void => expect(path).toMatch(/^\/(?!\.\.(\/|$))/);
  check(parseVolume, ({ source, destination }) => {
    inside(source);
    inside(destination);
  });
  check(parseTmpfs, ({ destination }) => inside(destination));
  check(parseMount, (mount) => inside('volume' in mount ? mount.volume.destination : mount.tmpfs.destination));
});

test('variables and pairs', () => {
  check(
    (flag, value) => parseEnvironment(flag, [value], {}),
    (entries) => {
      for (const entry of entries) expect(entry).toMatch(/^[^=]+=/s);
    },
  );
  check(
    (flag, value) => parsePairs(flag, [value]),
    (pairs) => expect(Object.keys(pairs)).toHaveLength(1),
  );
  expect(({} as { a?: unknown }).a).toBeUndefined();
});
