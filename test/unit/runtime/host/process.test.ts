/** Programs of the host: how their ends are told, and what does not delay them. */
import { expect, test } from 'vitest';
import { Code } from '../../../../agent/protocol/errors.ts';
import { run, runBytes } from '../../../../runtime/host/process.ts';

const shell = (line: string, timeoutMs = 20_000) => run('/bin/sh', ['-c', line], { timeoutMs });
/** Far below the time for which the tests' children hold what they were given. */
const SOON_MS = 10_000;

test('a program that fails is told with its last words', async () => {
  await expect(shell('echo out; echo one >&2; echo two >&2; exit 3')).rejects.toThrow(
    'run sh: ended with status 3: one; two',
  );
  await expect(shell('kill -TERM $$')).rejects.toThrow('run sh: killed by SIGTERM');
  await expect(run('/no/such', [], { timeoutMs: 1_000 })).rejects.toMatchObject({ code: Code.NotFound });
  await expect(run('/etc/passwd', [], { timeoutMs: 1_000 })).rejects.toThrow('cannot be started in /: EACCES');
});

test('what it is called and all of its environment can be said', async () => {
  const { stdout } = await run('/bin/sh', ['-c', 'cat /proc/$$/cmdline; env'], {
    timeoutMs: 20_000,
    name: 'other',
    exactEnv: { ONLY: '1' },
  });
  expect(stdout).toMatch(/^other\0-c\0/);
  expect(stdout.split('\n').filter((line) => !/^(.*\0)?(PWD|SHLVL|_)=/.test(line) && line.includes('='))).toEqual([
    expect.stringContaining('ONLY=1'),
  ]);
});

test('a child that lives on with its pipes delays neither its end nor its deadline', async () => {
  const began = performance.now();
  expect((await shell('echo said; sleep 15 & exit 0')).stdout).toBe('said');
  const bytes = await runBytes('/bin/sh', ['-c', 'echo said; sleep 15 & exit 0'], { timeoutMs: 20_000 });
  expect(Buffer.from(bytes).toString()).toBe('said\n');
  await expect(shell('sleep 15 & sleep 15', 500)).rejects.toMatchObject({ code: Code.DeadlineExceeded });
  expect(performance.now() - began).toBeLessThan(SOON_MS);
});
