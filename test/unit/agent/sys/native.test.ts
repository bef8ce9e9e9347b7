/** The native layer, run for real: a small program built like the agent, one process per case. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildNative } from '../../../../agent/build.ts';

const run = promisify(execFile);
const SEED = 20210327;
let directory = '';
let program = '';

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tskata-native-'));
  program = join(directory, 'cases');
  await buildNative({ name: 'cases', entry: join(import.meta.dirname, 'fixtures/main.ts'), outFile: program });
}, 600_000);

afterAll(() => rm(directory, { recursive: true, force: true }));

async function runCase(name: string, ...args: string[]): Promise<{ result: unknown; expected: string[] }> {
  const { stderr } = await run(program, [name, ...args], { timeout: 60_000, maxBuffer: 1 << 28 });
  return JSON.parse(stderr.trim().split('\n').at(-1) ?? '');
}

async function passes(name: string, ...args: string[]): Promise<void> {
  expect((await runCase(name, ...args)).expected).toEqual([]);
}

describe('calls', () => {
  test.for(['arguments', 'hostile plans', 'file errors', 'descriptor passing', 'words'])('%s', (name) => passes(name));
  test('files', async () => passes('files', await mkdtemp(join(directory, 'files-'))));

  test('UTF-8 agrees with Node', async () => {
    const unit = fc.oneof(
      fc.integer({ min: 0, max: 0xffff }),
      fc.integer({ min: 0xd7f0, max: 0xe010 }),
      fc.integer({ min: 0x20, max: 0x7e }),
    );
    const byte = fc.oneof(
      fc.integer({ min: 0, max: 255 }),
      fc.constantFrom(0xc0, 0xc2, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0x80, 0x9f, 0xa0, 0xbf),
    );
    const strings = fc
      .sample(fc.array(unit, { maxLength: 40 }), { seed: SEED, numRuns: 3000 })
      .map((units) => String.fromCharCode(...units));
    const bytes = fc.sample(fc.array(byte, { maxLength: 24 }), { seed: SEED, numRuns: 6000 });
    const input = join(directory, 'utf8.json');
    await writeFile(input, JSON.stringify({ strings, bytes }));
    const { result } = (await runCase('utf8', input)) as {
      result: { encoded: number[][]; decoded: number[][]; stripped: string; fatal: string };
    };
    expect(result.encoded).toEqual(strings.map((value) => [...new TextEncoder().encode(value)]));
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    const decoded = bytes.map((value) => decoder.decode(Uint8Array.from(value)));
    expect(result.decoded).toEqual(
      decoded.map((text) => Array.from({ length: text.length }, (_, index) => text.charCodeAt(index))),
    );
    expect(result.stripped).toBe('a');
    expect(result.fatal).toBe('TypeError');
  });
});

describe('loop', () => {
  test.for(['three thousand descriptors', 'stale events', 'timers', 'channels', 'memory'])('%s', (name) =>
    passes(name),
  );

  test('jobs and errors', async () => {
    expect((await runCase('jobs and errors')).expected).toEqual(['expected: thrown', 'expected: rejected']);
  });

  test('what nobody catches is printed with its stack', async () => {
    await expect(run(program, ['no such case'])).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no case no such case\n\s+at main \(cases\.js:\d+\)/),
    });
  });
});

describe('spawn', () => {
  test.for([
    'exec',
    'failing steps',
    'sync',
    'sync without a parent',
    'signals and descriptors',
    'descriptors from three on',
    'namespaces',
    'user namespace',
  ])('%s', (name) => passes(name));

  test.for(['resolve', 'resolve while the tree changes'])('%s', async (name) =>
    passes(name, await mkdtemp(join(directory, 'resolve-'))),
  );
});

describe('kernel', () => {
  test.for(['seccomp', 'devices', 'born in a cgroup, in entered namespaces', 'network'])('%s', (name) =>
    passes(name, directory),
  );
});

describe('program', () => {
  test('is one static, position-independent file of at most 3 MB', async () => {
    expect((await stat(program)).size).toBeLessThan(3_000_000);
    const { stdout } = await run('readelf', ['-hlWd', program]);
    expect(stdout).toMatch(/Type:\s+DYN/);
    expect(stdout).not.toMatch(/INTERP|NEEDED/);
    expect(stdout).toMatch(/GNU_RELRO/);
    expect(stdout).toMatch(/BIND_NOW|Flags: NOW/);
    expect(stdout).toMatch(/GNU_STACK\s+\S+\s+\S+\s+\S+\s+\S+\s+\S+\s+RW\s/);
  });

  test('is built once', async () => {
    const started = performance.now();
    await buildNative({ name: 'cases', entry: join(import.meta.dirname, 'fixtures/main.ts'), outFile: program });
    expect(performance.now() - started).toBeLessThan(1000);
  });
});
