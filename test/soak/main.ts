/**
 * `npm run soak`: fifty pods by CRI, four at a time, each with an init container, a server that is asked and one restart.
 * Counts what goes wrong and what is left on the machine. Options: --pods N, --parallel N, --release 1.6|1.7|2.1.
 */
import { parseArgs } from 'node:util';
import { CONTAINERD_RELEASES } from '../helpers/containerd/programs.ts';
import { Containerd } from '../helpers/containerd.ts';
import { Pod } from '../helpers/cri/pod.ts';

const { values } = parseArgs({
  options: {
    pods: { type: 'string', default: '50' },
    parallel: { type: 'string', default: '4' },
    release: { type: 'string', default: '1.6' },
  },
});
const pods = Number(values.pods);
const release = CONTAINERD_RELEASES.find((known) => known === values.release);
if (release === undefined) throw new Error(`--release: one of ${CONTAINERD_RELEASES.join(', ')}`);

const SERVER = ['sh', '-c', 'trap "exit 0" TERM; echo up; while :; do sleep 1000 & wait; done'];

/** The life of one pod; returns the boot id of its machine. */
async function onePod(containerd: Containerd, index: number): Promise<string> {
  const pod = await Pod.run(containerd, 'tskata', { hostname: `soak-${index}` });
  try {
    const init = await pod.shell('hostname; exit 4');
    expectEqual('init', `${init.status} ${init.stdout}`, `4 soak-${index}\n`);
    const server = await pod.start({ name: 'server', command: SERVER });
    const bootId = await server.output('cat /proc/sys/kernel/random/boot_id');
    await server.stop(60);
    expectEqual('server', await server.exit(), 0);
    await server.remove();
    const again = await pod.start({ name: 'server', command: SERVER });
    expectEqual('machine after a restart', await again.output('cat /proc/sys/kernel/random/boot_id'), bootId);
    return bootId;
  } finally {
    await pod.remove();
  }
}

function expectEqual(what: string, seen: unknown, wanted: unknown): void {
  if (seen !== wanted) throw new Error(`${what}: ${JSON.stringify(seen)} instead of ${JSON.stringify(wanted)}`);
}

/** Takes the next pod until there is none; failures are told and counted. */
async function worker(containerd: Containerd, queue: Iterator<number>, bootIds: string[]): Promise<number> {
  let failed = 0;
  for (let next = queue.next(); next.done !== true; next = queue.next()) {
    const started = performance.now();
    try {
      bootIds.push(await onePod(containerd, next.value));
      console.log(`pod ${next.value}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
    } catch (error) {
      failed++;
      console.log(`pod ${next.value}: failed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return failed;
}

const containerd = await Containerd.start({ release });
const started = performance.now();
let problems = 0;
try {
  const queue = Array.from({ length: pods }, (_, index) => index).values();
  const bootIds: string[] = [];
  const workers = Array.from({ length: Number(values.parallel) }, () => worker(containerd, queue, bootIds));
  const failed = (await Promise.all(workers)).reduce((sum, count) => sum + count, 0);
  const machines = new Set(bootIds).size;
  problems = failed + (bootIds.length - machines);
  const seconds = (performance.now() - started) / 1000;
  console.log(`${pods} pods, ${failed} failed, ${machines} machines, ${seconds.toFixed(0)} s`);
  await containerd.settled();
  console.log('nothing left: no process, mount, network namespace, link, lease, cgroup, socket, bundle');
} catch (error) {
  problems++;
  console.log(error instanceof Error ? error.message : String(error));
} finally {
  await containerd.dispose().catch(() => undefined);
}
process.exit(problems === 0 ? 0 : 1);
