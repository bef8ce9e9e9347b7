import { expect, test } from 'vitest';
import { programFailure } from '../../../../runtime/sandbox/start-failure.ts';

test.each([
  ['exec: "x": executable file not found in $PATH', 127],
  ['start container c: exec: "/a\nb "c"": no such file or directory', 127],
  ['exec: "/etc/passwd": permission denied', 126],
  ['exec: "/x": exec format error', 126],
  ['mount "/x": no such file or directory', undefined],
  ['no such file or directory; exec: "x"', undefined],
  ['preexec: "x": permission denied', undefined],
])('%j is %s', (message, status) => {
  expect(programFailure(message)).toBe(status);
});

test('words of a hostile guest take no time', () => {
  const started = performance.now();
  expect(programFailure('exec: "'.repeat(600_000))).toBeUndefined();
  expect(performance.now() - started).toBeLessThan(1_000);
});
