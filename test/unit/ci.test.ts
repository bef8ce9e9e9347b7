/** What CI calls adds up what its tiers count, and fails when one of them did, however it did. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'ci-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

/** Runs it with tiers that only say and end as these shell lines do. */
function run(test: string, kvm: string): { readonly lines: readonly string[]; readonly status: number | null } {
  writeFileSync(join(directory, 'npm'), `#!/bin/sh\ncase "$*" in test*) ${test};; *) ${kvm};; esac\n`, { mode: 0o755 });
  const env = { ...process.env, PATH: `${directory}:${process.env.PATH}` };
  const { stdout, status } = spawnSync(join(ROOT, '.ci/run'), { env, encoding: 'utf8' });
  return { lines: stdout.trimEnd().split('\n'), status };
}

describe('.ci/run', () => {
  it.each([
    [
      'all is well',
      'echo 10 passed, 0 failed, 1 skipped',
      'echo 5 passed, 0 failed, 0 skipped',
      '15 passed, 0 failed, 1 skipped',
      0,
    ],
    [
      'a test of the first fails',
      'echo 9 passed, 1 failed, 0 skipped; exit 1',
      'echo 5 passed, 0 failed, 0 skipped',
      '14 passed, 1 failed, 0 skipped',
      1,
    ],
    [
      'a test of the second fails',
      'echo 9 passed, 0 failed, 0 skipped',
      'echo 5 passed, 2 failed, 0 skipped; exit 1',
      '14 passed, 2 failed, 0 skipped',
      1,
    ],
    [
      'one fails after a good count',
      'echo 9 passed, 0 failed, 0 skipped; exit 3',
      'echo 5 passed, 0 failed, 0 skipped',
      '14 passed, 1 failed, 0 skipped',
      1,
    ],
    [
      'one ends before it counts',
      'echo no network; exit 1',
      'echo 5 passed, 0 failed, 0 skipped',
      '5 passed, 1 failed, 0 skipped',
      1,
    ],
  ])('%s', (_, test, kvm, last, status) => {
    const result = run(test, kvm);
    expect(result.lines.at(-1)).toBe(last);
    expect(result.status).toBe(status);
    // Whoever looks for the count finds one.
    expect(result.lines.filter((line) => /^\d+ passed/.test(line))).toHaveLength(1);
  });
});
