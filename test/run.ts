/**
 * `npm test` after the set-up: static checks, then every test, then what is left on the machine. Ends with one line
 * that counts: "N passed, N failed, N skipped".
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findLeaks } from './helpers/leaks.ts';

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTotalTests: number;
}

const root = join(import.meta.dirname, '..');

function run(command: string, args: readonly string[]): boolean {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  return result.status === 0;
}

function runVitest(): { report: Report | undefined; ok: boolean } {
  const directory = mkdtempSync(join(tmpdir(), 'tskata-report-'));
  try {
    const file = join(directory, 'report.json');
    const args = ['run', '--config', 'test/vitest.config.ts', '--coverage', '--reporter=default', '--reporter=json'];
    const ok = run('vitest', [...args, `--outputFile.json=${file}`, ...process.argv.slice(2)]);
    return { report: JSON.parse(readFileSync(file, 'utf8')) as Report, ok };
  } catch (error) {
    process.stderr.write(`test: no report: ${String(error)}\n`);
    return { report: undefined, ok: false };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** What the guests of this run run on, and why. */
function accelerator(): string {
  const { stdout } = spawnSync(join(root, 'build/bin/tskata'), ['doctor', '--json'], { encoding: 'utf8' });
  return (JSON.parse(stdout) as { reason: string }).reason;
}

console.log(`accelerator: ${accelerator()}`);
const before = await findLeaks();
const checked = run('npm', ['run', '--silent', 'check']);
const { report, ok } = runVitest();
const left = (await findLeaks()).filter((leak) => !before.includes(leak));
for (const leak of left) process.stderr.write(`left behind: ${leak}\n`);

const extra = (checked ? 0 : 1) + (left.length > 0 ? 1 : 0);
const failed = (report?.numFailedTests ?? 0) + extra;
// Files that never came to run a test (a syntax error, say) fail without a failed test.
const silent = !ok && failed === 0 ? 1 : 0;
const passed = (report?.numPassedTests ?? 0) + (checked ? 1 : 0) + (left.length > 0 ? 0 : 1);
console.log(`${passed} passed, ${failed + silent} failed, ${report?.numPendingTests ?? 0} skipped`);
process.exit(failed + silent === 0 ? 0 : 1);
