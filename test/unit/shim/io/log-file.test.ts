import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LogFile } from '../../../../shim/io/log-file.ts';

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tskata-log-'));
  path = join(directory, 'log.json');
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

interface Line {
  readonly time: string;
  readonly stream: string;
  readonly log: string;
}

const lines = (file: string): Line[] =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
const text = (value: string): Uint8Array => Buffer.from(value);

test('lines of both streams, the last one without an end', async () => {
  const log = new LogFile(path, 1_000_000, () => new Date(0));
  const [out, err] = [log.sink('stdout'), log.sink('stderr')];
  await out.write(text('one\ntw'));
  await err.write(text('bad "quoted"\u0000\n'));
  await out.write(text('o\nrest'));
  out.close();
  err.close();
  await log.close();
  expect(lines(path).map(({ stream, log: line }) => [stream, line])).toEqual([
    ['stdout', 'one\n'],
    ['stderr', 'bad "quoted"\u0000\n'],
    ['stdout', 'two\n'],
    ['stdout', 'rest'],
  ]);
  expect(lines(path)[0]?.time).toBe('1970-01-01T00:00:00.000Z');
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test('a long line is several, never cut inside a character', async () => {
  const log = new LogFile(path, 10_000_000);
  const sink = log.sink('stdout');
  const long = 'ü'.repeat(20_001);
  for (const byte of [text(`x${long}\n`)]) await sink.write(byte);
  sink.close();
  await log.close();
  const found = lines(path).map(({ log: line }) => line);
  expect(found.join('')).toBe(`x${long}\n`);
  expect(found.length).toBe(3);
  expect(found.some((line) => line.includes('\ufffd'))).toBe(false);
});

test('at its size it is rotated, and goes on where it was opened again', async () => {
  const log = new LogFile(path, 2_000);
  const sink = log.sink('stdout');
  for (let index = 0; index < 40; index++) await sink.write(text(`line ${index}\n`));
  await log.close();
  expect(statSync(path).size).toBeLessThanOrEqual(2_000);
  expect(statSync(`${path}.1`).size).toBeLessThanOrEqual(2_000);
  const kept = [...lines(`${path}.1`), ...lines(path)].map(({ log: line }) => line);
  expect(kept.at(-1)).toBe('line 39\n');
  expect(kept).toEqual(Array.from({ length: kept.length }, (_, index) => `line ${40 - kept.length + index}\n`));
  const again = new LogFile(path, 1_000_000);
  await again.sink('stdout').write(text('more\n'));
  await again.close();
  expect(lines(path).at(-1)?.log).toBe('more\n');
});
