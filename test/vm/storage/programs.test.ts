/**
 * Programs run from a share, each in memory that held the code of another: under TCG what virtiofsd writes is unseen by
 * QEMU, which must not run translations of what was there before.
 */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeMeetProgram } from '../../helpers/meet-program.ts';
import { PodShim } from '../../helpers/pod-shim.ts';

const PAIRS = 100;

let pod: PodShim;

beforeAll(() => {
  pod = new PodShim();
});

afterAll(async () => {
  await pod.dispose();
});

test('a program of a share is itself, also where another was in memory', async () => {
  const work = join(pod.directory, 'work');
  mkdirSync(work);
  await writeMeetProgram(work);
  writeFileSync(join(work, 'page'), '');
  for (let i = 0; i < PAIRS; i++) {
    copyFileSync(join(work, 'meet'), join(work, `meet${i}`));
    copyFileSync('/bin/busybox', join(work, `busybox${i}`));
  }
  await pod.start('a', { mounts: [{ destination: '/work', type: 'bind', source: work, options: ['rbind'] }] });
  // Removed when it has run, a file leaves its memory to the next.
  const each = '[ "$(./meet$i try page)" = free ] || echo meet$i; [ "$(./busybox$i seq 1)" = 1 ] || echo busybox$i';
  const line = `cd /work; i=0; while [ $i -lt ${PAIRS} ]; do ${each}; rm meet$i busybox$i; i=$((i + 1)); done`;
  expect(await pod.sh('a', line)).toBe('');
});
