/** A Create that does not come to an end, here since nobody serves the share: the other tasks answer meanwhile. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PodShim } from '../helpers/pod-shim.ts';

let shim: PodShim;

beforeAll(async () => {
  shim = new PodShim();
  await shim.start('one');
  await shim.start('other');
});

afterAll(async () => {
  signalShares('SIGCONT');
  await shim.dispose();
});

function signalShares(signal: 'SIGSTOP' | 'SIGCONT'): void {
  for (const pid of shim.programs('virtiofsd')) process.kill(pid, signal);
}

test('State, Stats, Kill and Wait do not wait behind a Create', async () => {
  signalShares('SIGSTOP');
  let created = false;
  const creating = shim.create('slow').then(() => {
    created = true;
  });
  await delay(500);

  const timesMs: number[] = [];
  for (let count = 0; count < 21; count++) {
    const started = performance.now();
    expect(await shim.task.state({ id: 'one' })).toMatchObject({ status: 2 });
    timesMs.push(performance.now() - started);
  }
  expect((await shim.task.stats({ id: 'one' }, { timeoutMs: 2_000 })).stats?.value.length).toBeGreaterThan(0);
  const waiting = shim.task.wait({ id: 'other' }, { timeoutMs: 5_000 });
  await shim.task.kill({ id: 'other', signal: 9 }, { timeoutMs: 2_000 });
  expect(await waiting).toMatchObject({ exitStatus: 137 });
  expect(created).toBe(false);
  // The middle one: any single answer may wait for a processor.
  expect(timesMs.sort((a, b) => a - b)[10]).toBeLessThan(50);

  signalShares('SIGCONT');
  await creating;
  await shim.task.start({ id: 'slow' });
  expect(await shim.sh('slow', 'echo lives')).toBe('lives');
});
