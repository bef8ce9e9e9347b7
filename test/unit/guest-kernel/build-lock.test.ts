/** One builder at a time, also when the builder is another process that dies. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { acquireBuildLock } from '../../../guest-kernel/build-lock.ts';

const MODULE = join(import.meta.dirname, '../../../guest-kernel/build-lock.ts');

test('a second taker waits until the first releases', async () => {
  const name = randomUUID();
  const order: string[] = [];
  const first = await acquireBuildLock(name, 10_000, () => order.push('never'));
  const second = acquireBuildLock(name, 10_000, () => order.push('waits')).then(async (lock) => {
    order.push('second');
    await lock?.release();
  });
  // a full exchange with the owner's socket, so that the second is surely waiting
  await expect(acquireBuildLock(name, 100, () => {})).resolves.toBeUndefined();
  order.push('release');
  await first?.release();
  await second;
  expect(order).toEqual(['waits', 'release', 'second']);
});

test('the lock of a killed process is free', async () => {
  const name = randomUUID();
  const script = `const { acquireBuildLock } = await import(${JSON.stringify(MODULE)});
    await acquireBuildLock(${JSON.stringify(name)}, 1000, () => {}); process.stdout.write('held'); setInterval(() => {}, 1e6);`;
  const owner = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(owner.stdout, 'data');
  const lock = acquireBuildLock(name, 10_000, () => owner.kill('SIGKILL'));
  await expect(lock).resolves.toBeDefined();
  await (await lock)?.release();
});
