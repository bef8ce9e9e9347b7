/** A Create that does not come to an end, since nobody serves the share or a volume: the other tasks answer meanwhile. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PodShim } from '../helpers/pod-shim.ts';
import { mountUnserved } from '../helpers/unserved-mount.ts';

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

async function expectQuickAnswers(): Promise<void> {
  const timesMs: number[] = [];
  for (let count = 0; count < 21; count++) {
    const started = performance.now();
    expect(await shim.task.state({ id: 'one' })).toMatchObject({ status: 2 });
    timesMs.push(performance.now() - started);
  }
  // The middle one: any single answer may wait for a processor.
  expect(timesMs.sort((a, b) => a - b)[10]).toBeLessThan(50);
}

test('State, Stats, Kill and Wait do not wait behind a Create', async () => {
  signalShares('SIGSTOP');
  let created = false;
  const creating = shim.create('slow').then(() => {
    created = true;
  });
  await delay(500);

  await expectQuickAnswers();
  expect((await shim.task.stats({ id: 'one' }, { timeoutMs: 2_000 })).stats?.value.length).toBeGreaterThan(0);
  const waiting = shim.task.wait({ id: 'other' }, { timeoutMs: 5_000 });
  await shim.task.kill({ id: 'other', signal: 9 }, { timeoutMs: 2_000 });
  expect(await waiting).toMatchObject({ exitStatus: 137 });
  expect(created).toBe(false);

  signalShares('SIGCONT');
  await creating;
  await shim.task.start({ id: 'slow' });
  expect(await shim.sh('slow', 'echo lives')).toBe('lives');
});

test('a volume whose server does not answer holds up its own container alone, which is refused with its place', async () => {
  const source = join(shim.directory, 'unserved');
  mkdirSync(source);
  const mount = await mountUnserved(source);
  try {
    const volume = { destination: '/x', type: 'bind', source, options: ['rbind'] };
    const creating = shim.create('stalled', { mounts: [volume] });
    const refused = expect(creating).rejects.toThrow(/mounts\[2\].source: .*has not answered for 10 s/);
    await delay(500);
    await expectQuickAnswers();
    expect(await shim.sh('one', 'echo lives')).toBe('lives');
    await refused;
  } finally {
    await mount.end();
  }
});
