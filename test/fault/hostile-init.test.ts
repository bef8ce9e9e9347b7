/**
 * Guests whose first process is not ours, in real machines: silence, a console without end, and noise on every port. The
 * start fails by its deadline with a reason, the shim stays small, other sandboxes do not notice, and nothing is left.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildInitrd } from '../../guest-kernel/initrd.ts';
import { run } from '../../runtime/host/process.ts';
import { Tskata } from '../helpers/tskata.ts';

const MODES = ['SILENCE', 'CONSOLE', 'PORTS'] as const;
const MAX_RESIDENT_KIB = 150 * 1024;
/** The deadline of a boot is 60 s; then the machine has to end. */
const DEADLINE_MS = 75_000;
const TEST_MS = 120_000;
const SAMPLE_MS = 100;
const ANSWER_MS = 10_000;

let tskata: Tskata;
let neighbour: string;

beforeAll(async () => {
  tskata = await Tskata.withBusybox();
  neighbour = await tskata.ok('run', '-d', 'busybox', 'sleep', '100000');
}, TEST_MS);

afterAll(async () => {
  await tskata.ok('rm', '-f', neighbour);
  tskata.dispose();
}, TEST_MS);

/** A configuration whose guests begin with that. */
async function hostileConfig(mode: string): Promise<string> {
  const path = (name: string): string => join(tskata.directory, `${mode}-${name}`);
  const source = join(import.meta.dirname, 'fixtures/hostile-init.c');
  await run('gcc', ['-static', '-O1', `-DMODE=${mode}`, '-o', path('init'), source], { timeoutMs: 60_000 });
  await buildInitrd({ agentBinary: path('init'), outFile: path('initrd') });
  writeFileSync(path('config.toml'), `[machine]\ninitrd = "${path('initrd')}"\n`, { mode: 0o600 });
  return path('config.toml');
}

/** The most that a shim of ours holds now. */
function largestShimKib(): number {
  const sizes = readdirSync(join(tskata.runRoot, 'default')).map((id) => {
    try {
      const { pid } = JSON.parse(readFileSync(join(tskata.runRoot, 'default', id, 'shim.json'), 'utf8')) as {
        pid: number;
      };
      return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
    } catch {
      // It has ended, or has not begun.
      return 0;
    }
  });
  return Math.max(...sizes);
}

test('guests that do not want to work', { timeout: TEST_MS }, async () => {
  const configs = await Promise.all(MODES.map(hostileConfig));
  const startedMs = performance.now();
  const starts = configs.map((config) =>
    tskata.call(['--runtime-config-path', config, 'run', '--rm', '--network', 'none', 'busybox', 'true']),
  );
  let over = false;
  const ended = Promise.all(starts).finally(() => {
    over = true;
  });
  let largest = 0;
  let slowestMs = 0;
  while (!over) {
    largest = Math.max(largest, largestShimKib());
    const askedMs = performance.now();
    expect(await tskata.ok('exec', neighbour, 'echo', 'alive')).toBe('alive');
    slowestMs = Math.max(slowestMs, performance.now() - askedMs);
    await sleep(SAMPLE_MS);
  }
  const results = await ended;
  expect(performance.now() - startedMs).toBeLessThan(DEADLINE_MS);
  for (const [index, { status, stdout, stderr }] of results.entries()) {
    expect([status, stdout], MODES[index]).toEqual([125, '']);
    expect(stderr, MODES[index]).toMatch(/: (boot the virtual machine|connect to the agent): .+/);
    expect(stderr.length).toBeLessThan(64 * 1024);
  }
  expect(largest).toBeGreaterThan(0);
  expect(largest).toBeLessThan(MAX_RESIDENT_KIB);
  expect(slowestMs).toBeLessThan(ANSWER_MS);
  expect(tskata.records().filter((path) => !path.includes(neighbour))).toEqual([]);
});
