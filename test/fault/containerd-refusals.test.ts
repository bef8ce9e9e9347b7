/**
 * Creates that fail at one of their steps, behind a real containerd: the caller is told which and why, nothing is left,
 * and the same id can be used again.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Containerd } from '../helpers/containerd.ts';
import { CtrPods } from '../helpers/ctr-pods.ts';

const TIMEOUT_MS = 120_000;

let containerd: Containerd;
let pods: CtrPods;

beforeAll(async () => {
  containerd = await Containerd.start({ withoutImages: true });
  pods = new CtrPods(containerd);
}, TIMEOUT_MS);

afterAll(() => containerd?.dispose(), TIMEOUT_MS);

/** Flags of `ctr run` that take a configuration file. */
function configured(name: string, text: string): string[] {
  const path = join(containerd.directory, `${name}.toml`);
  writeFileSync(path, text, { mode: 0o600 });
  return ['--runtime-config-path', path];
}

test.each([
  {
    step: 'a kernel that is missing',
    flags: () => configured('kernel', '[machine]\nkernel = "/nonexistent/vmlinux"\n'),
    words: /create container c: boot the virtual machine: .*\/nonexistent\/vmlinux/,
  },
  {
    step: 'more memory than the host has',
    flags: () => [
      ...configured('memory', 'enable_annotations = ["io.tskata.sandbox.memory"]\n'),
      ...['--annotation', 'io.tskata.sandbox.memory=900000'],
    ],
    words: /create container c: annotations\['io.tskata.sandbox.memory'\]: 900000, but this host allows \d+ to \d+/,
  },
  {
    step: 'a network namespace that is gone',
    flags: () => ['--with-ns', 'network:/run/netns/tskata-gone'],
    words: /create container c: set up the network: open \/run\/netns\/tskata-gone/,
  },
  {
    step: 'a mount of nothing',
    flags: () => ['--mount', 'type=bind,src=/nonexistent/volume,dst=/data,options=rbind:ro'],
    words: /create container c: mounts\[\d+\].source: share \/nonexistent\/volume/,
  },
])('$step: said, undone, and the id is free again', { timeout: TIMEOUT_MS }, async ({ flags, words }) => {
  const failure = await pods.single('c', flags(), 'sleep', '1000').then(
    () => '',
    (error: Error) => error.message,
  );
  expect(failure).toMatch(words);
  expect(failure).not.toMatch(/\n\s+at /);
  expect((await pods.tasks()).has('c')).toBe(false);
  if ((await pods.containers()).includes('c')) await pods.remove('c');
  await containerd.settled();
  await pods.single('c', [], 'sleep', '1000');
  expect((await pods.tasks()).get('c')?.status).toBe('RUNNING');
  await pods.remove('c');
});
