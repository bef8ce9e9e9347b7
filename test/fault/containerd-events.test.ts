/**
 * Events under load, as subscribers of a real containerd see them: complete, each once, and in the order of the
 * process's life. `npm run soak:events` runs it with 1,000 execs and 1,000 containers in a sandbox, and with 30 sandboxes.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Containerd } from '../helpers/containerd.ts';
import { CtrPods, type SeenEvent } from '../helpers/ctr-pods.ts';
import { connectShim } from '../helpers/shim-client.ts';
import { eventually } from '../helpers/tskata.ts';

const EXECS = Number(process.env.TSKATA_TEST_EXECS ?? 100);
const SANDBOXES = Number(process.env.TSKATA_TEST_SANDBOXES ?? 1);
const CONTAINERS = Number(process.env.TSKATA_TEST_CONTAINERS ?? 3);
const AT_ONCE = 8;
const SANDBOXES_AT_ONCE = 3;
/** A shim tries to tell an event after 0, 0.1, 0.6, 1.6, 3.6, 8.6 and 13.6 s: this long after it there is time. */
const QUIET_FROM_MS = 8_900;
const TIMEOUT_MS = 200_000 + 60_000 * SANDBOXES + 2_000 * (EXECS + CONTAINERS);

let containerd: Containerd;
let pods: CtrPods;

beforeAll(async () => {
  containerd = await Containerd.start({ withoutImages: true });
  pods = new CtrPods(containerd);
}, TIMEOUT_MS);

afterAll(async () => {
  for (const id of (await pods?.containers()) ?? []) await pods.remove(id);
  await containerd?.dispose();
}, TIMEOUT_MS);

/** Does something so often, some at once. */
async function many(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** Runs `true` as execs, as containerd would call. */
async function execs(pod: string): Promise<void> {
  const { task, close } = await connectShim(pods.record(pod).socket);
  const value = Buffer.from(JSON.stringify({ args: ['/bin/true'], cwd: '/', user: { uid: 0, gid: 0 } }));
  try {
    await many(EXECS, async (index) => {
      const execId = `e${index}`;
      await task.exec({ id: pod, execId, spec: { value } });
      await task.start({ id: pod, execId });
      expect((await task.wait({ id: pod, execId })).exitStatus).toBe(0);
      await task.delete({ id: pod, execId });
    });
  } finally {
    close();
  }
}

/** Runs `true` as containers of the pod. */
async function containers(pod: string): Promise<void> {
  await many(CONTAINERS, (index) => pods.toEnd(pod, `${pod}-c${index}`, 'true'));
}

/** Topics of each process, in the order in which they were told. */
function byProcess(events: readonly SeenEvent[]): Map<string, string[]> {
  const lives = new Map<string, string[]>();
  for (const { container, process, topic } of events) {
    const key = `${container}/${process === '' ? container : process}`;
    lives.set(key, [...(lives.get(key) ?? []), topic]);
  }
  return lives;
}

test(`${EXECS} execs and ${CONTAINERS} containers in ${SANDBOXES} sandboxes`, { timeout: TIMEOUT_MS }, async () => {
  const { child, seen } = pods.events();
  const names = Array.from({ length: SANDBOXES }, (_, index) => `pod${index}`);
  const work = async (): Promise<void> => {
    for (let pod = names.pop(); pod !== undefined; pod = names.pop()) {
      await pods.sandbox(pod);
      await Promise.all([execs(pod), containers(pod)]);
      await pods.remove(pod);
    }
  };
  await Promise.all(Array.from({ length: SANDBOXES_AT_ONCE }, work));
  const processes = SANDBOXES * (EXECS + CONTAINERS + 1);
  const complete = (): boolean =>
    [...byProcess(seen()).values()].filter((life) => life.at(-1) === 'delete').length === processes;
  await eventually(complete, 30_000, 'the last event');
  child.kill('SIGKILL');
  const lives = byProcess(seen());
  expect(lives.size).toBe(processes);
  for (const [key, life] of lives) {
    const exec = /\/e\d+$/.test(key);
    expect(life, key).toEqual(
      exec ? ['exec-added', 'exec-started', 'exit', 'delete'] : ['create', 'start', 'exit', 'delete'],
    );
  }
});

test('an end for lack of memory is told before the exit, of a single container and of one of a pod', {
  timeout: TIMEOUT_MS,
}, async () => {
  const limit = ['--memory-limit', String(32 * 1024 * 1024)];
  const eat = ['sh', '-c', 'exec tail /dev/zero'];
  await pods.sandbox('pantry');
  const { child, seen } = pods.events();
  await pods.single('greedy', limit, ...eat);
  const [verb = '', ...rest] = pods.runCommand('pantry', 'container', 'guest', eat, limit);
  expect(await containerd.ctr([verb, ...rest])).toMatchObject({ status: 0 });
  const topics = (id: string): string[] => seen().flatMap(({ container, topic }) => (container === id ? [topic] : []));
  for (const id of ['greedy', 'guest']) {
    await eventually(() => topics(id).includes('exit'), 60_000, `the exit of ${id}`);
    await pods.remove(id);
    await eventually(() => topics(id).includes('delete'), 30_000, `the last event of ${id}`);
  }
  child.kill('SIGKILL');
  for (const id of ['greedy', 'guest']) expect(topics(id)).toEqual(['create', 'start', 'oom', 'exit', 'delete']);
  await pods.remove('pantry');
});

test('what ends while containerd is away is told when it is back, each thing once and in order', {
  timeout: TIMEOUT_MS,
}, async () => {
  const wait = 'until [ -e /tmp/go ]; do sleep 0.1; done';
  const limit = ['--memory-limit', String(32 * 1024 * 1024)];
  await pods.single('quits', [], 'sh', '-c', `${wait}; exit 7`);
  await pods.single('starves', limit, 'sh', '-c', `${wait}; exec tail /dev/zero`);
  await pods.sandbox('lives');
  await containerd.halt('SIGKILL');
  writeFileSync(join(containerd.directory, 'rootfs/tmp/go'), '');
  const exits = () => ['quits', 'starves'].map((id) => pods.record(id).exit);
  await eventually(() => exits().every((exit) => exit !== undefined), 60_000, 'the ends');
  // Between two attempts of theirs, so that the watcher is there before the next.
  const lastMs = Math.max(...exits().map((exit) => Date.parse(exit?.at ?? '')));
  await sleep(lastMs + QUIET_FROM_MS - Date.now());
  await containerd.boot();
  const { child, seen } = pods.events();
  const told = (id: string): string[] => seen().flatMap(({ container, topic }) => (container === id ? [topic] : []));
  await eventually(() => told('starves').includes('exit') && told('quits').includes('exit'), 30_000, 'the exits');
  expect(told('quits')).toEqual(['exit']);
  expect(told('starves')).toEqual(['oom', 'exit']);
  const tasks = await pods.tasks();
  expect(['quits', 'starves', 'lives'].map((id) => tasks.get(id)?.status)).toEqual(['STOPPED', 'STOPPED', 'RUNNING']);
  expect((await containerd.ctr(['task', 'rm', 'quits'])).stderr).toContain('exit code 7');
  expect((await containerd.ctr(['task', 'rm', 'starves'])).stderr).toContain('exit code 137');
  for (const id of ['quits', 'starves', 'lives']) await pods.remove(id);
  child.kill('SIGKILL');
});
