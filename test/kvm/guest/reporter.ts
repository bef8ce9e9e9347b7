/** Tells the machine outside what the tests do, over the port /dev/report; without it (a shell, say) on standard output. */
import { appendFileSync, existsSync } from 'node:fs';
import type { Reporter, TestCase, TestModule, TestSpecification, TestSuite } from 'vitest/node';
import { encodeEvent, type ReportEvent } from '../report.ts';

const PORT = '/dev/report';

export class KvmHostReporter implements Reporter {
  #waiting = 0;

  onTestRunStart(specifications: readonly TestSpecification[]): void {
    this.#waiting = specifications.length;
  }

  onTestModuleStart(module: TestModule): void {
    tell({ event: 'file', file: module.relativeModuleId });
  }

  onTestCaseResult(test: TestCase): void {
    const result = test.result();
    const state = result.state === 'pending' ? 'failed' : result.state;
    const errors = (result.errors ?? []).map(describeError).join('\n');
    const words = result.state === 'skipped' ? (result.note ?? 'no reason was given') : errors;
    const elapsedMs = Math.round(test.diagnostic()?.duration ?? 0);
    tell({ event: 'test', file: test.module.relativeModuleId, name: test.fullName, state, elapsedMs, words });
  }

  /** A hook that fails leaves its tests skipped, without a word. */
  onTestSuiteResult(suite: TestSuite): void {
    for (const error of suite.errors()) {
      tell({ event: 'problem', words: `${suite.fullName}: ${describeError(error)}` });
    }
  }

  onTestModuleEnd(module: TestModule): void {
    tell({ event: 'file-end', file: module.relativeModuleId, problems: module.errors().map(describeError) });
    this.#waiting -= 1;
    if (this.#waiting === 0) tell({ event: 'tested' });
  }

  onTestRunEnd(_modules: readonly TestModule[], errors: readonly unknown[]): void {
    tell({ event: 'end', problems: errors.map((error) => describeError(error as Error)) });
  }
}

function describeError(error: { readonly message?: string; readonly stack?: string; readonly diff?: string }): string {
  const place = /^\s+at .*$/m.exec(error.stack ?? '')?.[0] ?? '';
  return [error.message ?? String(error), error.diff ?? '', place].filter((part) => part !== '').join('\n');
}

function tell(event: ReportEvent): void {
  if (existsSync(PORT)) appendFileSync(PORT, encodeEvent(event));
  else process.stdout.write(encodeEvent(event));
}
