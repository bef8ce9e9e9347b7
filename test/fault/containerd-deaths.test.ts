/**
 * One process of a pod is killed under containerd: the exits of all its containers are told at once, everything can be
 * stopped and removed, another pod does not notice, and nothing is left.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { findProcess, isAlive } from '../../runtime/state/process-ref.ts';
import { Containerd } from '../helpers/containerd.ts';
import { CtrPods } from '../helpers/ctr-pods.ts';
import { buildMortalInitrd, DEATH_BY_FAULT } from '../helpers/mortal-agent.ts';
import { eventually } from '../helpers/tskata.ts';

const TEST_TIMEOUT_MS = 240_000;
let containerd: Containerd;
let pods: CtrPods;
/** Flags of a sandbox whose agent can be made to die. */
let mortal: string[];

beforeAll(async () => {
  containerd = await Containerd.start({ withoutImages: true });
  pods = new CtrPods(containerd);
  const path = (name: string): string => join(containerd.directory, name);
  await buildMortalInitrd(path('mortal-agent'), path('mortal-initrd'));
  writeFileSync(path('mortal.toml'), `[machine]\ninitrd = "${path('mortal-initrd')}"\n`, { mode: 0o600 });
  mortal = ['--privileged', '--runtime-config-path', path('mortal.toml')];
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

function kill(pid: number | undefined): void {
  if (pid === undefined) throw new Error('there is nothing to kill');
  process.kill(pid, 'SIGKILL');
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

/** What dies, and how; who tells the exits then is the shim by event, or containerd in its place. */
const PARTS: Readonly<Record<string, (pod: string) => void>> = {
  qemu: (pod) => kill(pods.record(pod).qemu?.pid),
  virtiofsd: (pod) => kill(childOf(pods.record(pod).keeper?.pid ?? 0, 'virtiofsd')),
  keeper: (pod) => kill(pods.record(pod).keeper?.pid),
  shim: (pod) => kill(pods.record(pod).shim.pid),
  // The exec that ends PID 1 of its guest never returns by itself.
  agent: (pod) => void pods.exec(pod, 'last', 'sh', '-c', `echo ${DEATH_BY_FAULT} > /proc/sys/vm/swappiness`),
};

/** Output and writes to a file of the host without end: what is under way when the end comes. */
const busy = (file: string): string => `while :; do echo 0123456789; echo 0123456789 > /tmp/${file}; done`;
const LOADS = ['idle', 'busy'] as const;
const CASES = Object.keys(PARTS).flatMap((part) => LOADS.map((load) => [part, load] as const));

test.each(CASES)('%s is killed, its pod being %s', { timeout: TEST_TIMEOUT_MS }, async (part, load) => {
  const [pod, app] = [`pod-${part}-${load}`, `app-${part}-${load}`];
  await pods.sandbox(pod, part === 'agent' ? mortal : []);
  await pods.container(pod, app, 'sh', '-c', load === 'busy' ? busy(app) : 'sleep 1000000');
  if (load === 'busy') {
    void pods.exec(app, 'busy', 'sh', '-c', busy(`${app}-exec`));
    const written = join(containerd.directory, 'rootfs/tmp', `${app}-exec`);
    await eventually(() => existsSync(written), 30_000, 'the pod is busy');
  }
  const { shim, keeper, qemu } = pods.record(pod);
  const standIn = findProcess((await pods.tasks()).get(app)?.pid ?? 0);
  expect(standIn).toBeDefined();
  const { child, seen } = pods.events();
  onTestFinished(() => void child.kill('SIGKILL'));
  // The watcher is there when it shows something.
  await eventually(
    async () => {
      await pods.exec('other-app', `${part}-${load}-${Date.now()}`, 'true');
      return seen().length > 0;
    },
    60_000,
    'events',
  );
  const killedMs = Date.now();
  PARTS[part]?.(pod);
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
  expect((await pods.exec('other-app', `after-${part}-${load}`, 'sh', '-c', 'exit 7')).status).toBe(7);
});

test('delete is done within its 5 s although shim, keeper, QEMU and file server stand still', {
  timeout: TEST_TIMEOUT_MS,
}, async () => {
  await pods.sandbox('hung');
  const { shim, keeper, qemu, bundle } = pods.record('hung');
  const parts = [shim, keeper, qemu].flatMap((ref) => ref ?? []);
  const server = findProcess(childOf(keeper?.pid ?? 0, 'virtiofsd'));
  for (const { pid } of [...parts, ...(server === undefined ? [] : [server])]) process.kill(pid, 'SIGSTOP');
  const flags = ['-namespace', 'default', '-address', containerd.paths.socket, '-publish-binary', '', '-id', 'hung'];
  const began = performance.now();
  const program = 'containerd-shim-tskata-v2';
  const { status, stderr } = await containerd.call([program, ...flags, '-bundle', bundle, 'delete']);
  expect(performance.now() - began).toBeLessThan(5_000);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  await eventually(() => !parts.some(isAlive), 10_000, 'the end of every process of the pod');
  await pods.remove('hung');
});
