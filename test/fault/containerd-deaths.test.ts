/**
 * One process of a pod is killed under containerd: the exits of all its containers are told at once, everything can be
 * stopped and removed, another pod does not notice, and nothing is left.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { findProcess, isAlive } from '../../runtime/state/process-ref.ts';
import { Containerd } from '../helpers/containerd.ts';
import { CtrPods } from '../helpers/ctr-pods.ts';
import { eventually } from '../helpers/tskata.ts';

const TEST_TIMEOUT_MS = 240_000;
let containerd: Containerd;
let pods: CtrPods;

beforeAll(async () => {
  containerd = await Containerd.start({ withoutImages: true });
  pods = new CtrPods(containerd);
  await pods.sandbox('other');
  await pods.container('other', 'other-app', 'sleep', '1000000');
}, TEST_TIMEOUT_MS);

afterAll(async () => {
  await pods?.remove('other-app');
  await pods?.remove('other');
  await containerd?.dispose();
}, TEST_TIMEOUT_MS);

/** A second on a machine that keeps up with its work; more where processes wait for a processor. */
function soonMs(): number {
  return 1_000 * Math.max(1, (loadavg()[0] ?? 1) / cpus().length);
}

function childOf(parent: number, name: string): number {
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      if (status.includes(`PPid:\t${parent}\n`) && status.startsWith(`Name:\t${name}`)) return Number(pid);
    } catch {
      // It ended while we looked.
    }
  }
  throw new Error(`process ${parent} has no child ${name}`);
}

/** How to find what is killed, and who tells the exits then: the shim by event, or containerd in its place. */
const PARTS: Readonly<Record<string, (pod: string) => number>> = {
  qemu: (pod) => pods.record(pod).qemu?.pid ?? 0,
  virtiofsd: (pod) => childOf(pods.record(pod).keeper?.pid ?? 0, 'virtiofsd'),
  keeper: (pod) => pods.record(pod).keeper?.pid ?? 0,
  shim: (pod) => pods.record(pod).shim.pid,
};

test.each(Object.keys(PARTS))('%s is killed', { timeout: TEST_TIMEOUT_MS }, async (part) => {
  const [pod, app] = [`pod-${part}`, `app-${part}`];
  await pods.sandbox(pod);
  await pods.container(pod, app, 'sleep', '1000000');
  const { shim, keeper, qemu } = pods.record(pod);
  const standIn = findProcess((await pods.tasks()).get(app)?.pid ?? 0);
  expect(standIn).toBeDefined();
  const { child, seen } = pods.events();
  onTestFinished(() => void child.kill('SIGKILL'));
  // The watcher is there when it shows something.
  await eventually(
    async () => {
      await pods.exec('other-app', `${part}-${Date.now()}`, 'true');
      return seen().length > 0;
    },
    60_000,
    'events',
  );
  const killedMs = Date.now();
  process.kill(PARTS[part]?.(pod) ?? 0, 'SIGKILL');
  const exits = (): string[] => {
    const told = seen().filter(({ topic, process, container }) => topic === 'exit' && process === container);
    return told.map(({ container }) => container).sort();
  };
  await eventually(() => exits().length === 2, 30_000, `exits of ${pod}: ${JSON.stringify(seen())}`);
  expect(exits()).toEqual([app, pod]);
  const last = Math.max(
    ...seen().flatMap((event) => (event.topic === 'exit' && event.container !== 'other-app' ? event.atMs : [])),
  );
  expect(last - killedMs).toBeLessThan(soonMs());
  const tasks = await pods.tasks();
  // A shim that lives answers until Delete; the tasks of one that died are gone with it.
  for (const id of [pod, app]) expect(tasks.get(id)?.status).toBe(part === 'shim' ? undefined : 'STOPPED');
  await pods.remove(app);
  await pods.remove(pod);
  const processes = [shim, keeper, qemu, standIn].flatMap((ref) => ref ?? []);
  await eventually(() => !processes.some(isAlive), 10_000, 'the end of every process of the pod');
  expect((await pods.exec('other-app', `after-${part}`, 'sh', '-c', 'exit 7')).status).toBe(7);
});

test.each([
  ['a mount without a source', ['--mount', 'type=bind,src=/nonexistent,dst=/x,options=rbind'], /\/nonexistent/],
  ['a network namespace that is gone', ['--with-ns', 'network:/run/netns/gone'], /\/run\/netns\/gone/],
])('%s: the create fails by name and leaves nothing', async (_what, flags, words) => {
  const [before, traces] = [await pods.containers(), await containerd.traces()];
  const command = pods.runCommand('refused', 'sandbox', 'refused', ['true']);
  const { status, stderr } = await containerd.ctr([...command.slice(0, 2), ...flags, ...command.slice(2)]);
  expect(status).not.toBe(0);
  expect(stderr).toMatch(words);
  await pods.remove('refused');
  expect(await pods.containers()).toEqual(before);
  const known = new Set(Object.values(traces).flat());
  const left = async (): Promise<string[]> =>
    Object.values(await containerd.traces())
      .flat()
      .filter((trace) => !known.has(trace));
  await eventually(async () => (await left()).length === 0, 30_000, 'nothing left');
});
