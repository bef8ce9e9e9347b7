/**
 * containerd is killed at random moments inside Create, Start, Exec and Delete, and started again, with five pods that
 * run: all are found again, nothing is there twice, left over or lost. The moments come from a seed, printed on failure.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Code } from '../../agent/protocol/errors.ts';
import { Containerd } from '../helpers/containerd.ts';
import { CtrPods } from '../helpers/ctr-pods.ts';
import { connectShim } from '../helpers/shim-client.ts';
import { eventually, type Result } from '../helpers/tskata.ts';

const PODS = 5;
const RESTARTS = Number(process.env.TSKATA_TEST_RESTARTS ?? 20);
const SEED = Number(process.env.TSKATA_TEST_SEED ?? Date.now() % 100_000);
const TIMEOUT_MS = 900_000;
/** By the numbers of containerd.v1.types.Status. */
const STATUSES = ['UNKNOWN', 'CREATED', 'RUNNING', 'STOPPED', 'PAUSED', 'PAUSING'];

let containerd: Containerd;
let pods: CtrPods;
let state = SEED;

beforeAll(async () => {
  containerd = await Containerd.start({ withoutImages: true });
  pods = new CtrPods(containerd);
  for (let index = 0; index < PODS; index++) {
    await pods.sandbox(`pod${index}`);
    await pods.container(`pod${index}`, `pod${index}-app`, 'sleep', '1000000');
  }
}, TIMEOUT_MS);

afterAll(async () => {
  for (const id of (await pods?.containers()) ?? []) await pods.remove(id);
  await containerd?.dispose();
}, TIMEOUT_MS);

/** The next number of a linear congruential generator, from 0 to below `bound`. */
function random(bound: number): number {
  state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
  return (state >> 8) % bound;
}

/** What is under way when containerd is killed; each has made what it needs first. */
const OPERATIONS: Readonly<Record<string, (pod: string, id: string) => Promise<() => Promise<Result>>>> = {
  'create and start': async (pod, id) => {
    const command = pods.runCommand(pod, 'container', id, ['sleep', '1000000']);
    return () => containerd.ctr(command);
  },
  'create and start a pod': async (_pod, id) => {
    const command = pods.runCommand(id, 'sandbox', id, ['sleep', '1000000']);
    return () => containerd.ctr(command);
  },
  exec: async (pod, id) => {
    return () => pods.exec(pod, id, 'sh', '-c', 'sleep 0.3; true');
  },
  delete: async (pod, id) => {
    await pods.container(pod, id, 'true');
    const stopped = async (): Promise<boolean> => (await pods.tasks()).get(id)?.status === 'STOPPED';
    await eventually(stopped, 30_000, `the end of ${id}`);
    return () => containerd.ctr(['task', 'rm', id]);
  },
};

/** How long each operation takes on this machine now: a kill comes at any moment of that, or a little later. */
async function durations(): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (const [name, prepare] of Object.entries(OPERATIONS)) {
    const operate = await prepare('pod0', 'measure');
    const startedMs = performance.now();
    expect(await operate()).toMatchObject({ status: 0 });
    found.set(name, Math.ceil((performance.now() - startedMs) * 1.1));
    await pods.remove('measure');
  }
  return found;
}

/** The pods as containerd knows them, by id. */
async function known(): Promise<Map<string, { pid: number; status: string }>> {
  return new Map([...(await pods.tasks())].filter(([id]) => /^pod\d+(-app)?$/.test(id)));
}

/** What the shim of a pod says of a container: undefined for one that it does not know. */
async function shimSays(pod: string, id: string): Promise<string | undefined> {
  const shim = await connectShim(pods.record(pod).socket);
  try {
    return STATUSES[(await shim.task.state({ id }, { timeoutMs: 10_000 })).status];
  } catch (error) {
    if ((error as { code?: unknown }).code !== Code.NotFound) throw error;
    return undefined;
  } finally {
    shim.close();
  }
}

/** containerd knows exactly what the shim knows, be it a container or none. */
async function agreed(pod: string, id: string, where: string): Promise<string | undefined> {
  let views: (string | undefined)[] = [];
  await eventually(
    async () => {
      views = [(await pods.tasks()).get(id)?.status, await shimSays(pod, id)];
      return views[0] === views[1];
    },
    30_000,
    `${where}: containerd and the shim agree`,
  ).catch((error: Error) => {
    throw new Error(`${error.message}: ${JSON.stringify(views)}`);
  });
  return views[0];
}

test(`${RESTARTS} kills of containerd, seed ${SEED}`, { timeout: TIMEOUT_MS }, async () => {
  const before = await known();
  expect(before.size).toBe(2 * PODS);
  const machines = [...before.keys()].map((id) => pods.record(id).qemu?.pid);
  const longestMs = await durations();
  const names = [...longestMs.keys()];
  for (let round = 0; round < RESTARTS; round++) {
    const name = names[random(names.length)] ?? '';
    const [pod, id] = [`pod${random(PODS)}`, `x${round}`];
    const killMs = random(longestMs.get(name) ?? 1);
    const where = `seed ${SEED}, round ${round}: ${name} in ${pod}, killed after ${killMs} ms`;
    const operate = await OPERATIONS[name]?.(pod, id);
    const under = operate?.();
    await new Promise((resolve) => setTimeout(resolve, killMs));
    await containerd.halt('SIGKILL');
    const told = await under;
    await containerd.boot();
    expect(await known(), where).toEqual(before);
    if (name !== 'create and start a pod') {
      const status = await agreed(pod, id, where);
      // What the client was told to have happened has happened.
      if (told?.status === 0 && name === 'create and start') expect(status, where).toBe('RUNNING');
      if (told?.status === 0 && name === 'delete') expect(status, where).toBeUndefined();
    } else if (told?.status === 0) expect((await pods.tasks()).get(id)?.status, where).toBe('RUNNING');
    await pods.remove(id);
    if (name !== 'create and start a pod') {
      await eventually(async () => (await shimSays(pod, id)) === undefined, 30_000, `${where}: the shim forgets ${id}`);
    }
    expect((await pods.exec(pod, `check${round}`, 'sh', '-c', 'exit 5')).status, where).toBe(5);
  }
  expect([...before.keys()].map((id) => pods.record(id).qemu?.pid)).toEqual(machines);
  for (const id of [...before.keys()].sort().reverse()) await pods.remove(id);
  await containerd.settled();
});
