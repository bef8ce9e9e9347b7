/**
 * The machine or the shim of a pod of CRI is killed, idle and under load: its container has exited, the pod can be stopped
 * and removed as the kubelet does, the neighbour that it talked to does not notice, and nothing is left.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { ContainerRecord } from '../../runtime/state/record.ts';
import { StateStore } from '../../runtime/state/store.ts';
import { Containerd } from '../helpers/containerd.ts';
import { PodSandboxState } from '../helpers/cri/generated/cri.ts';
import { Pod, type PodContainer } from '../helpers/cri/pod.ts';
import { eventually } from '../helpers/tskata.ts';

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 });

const CRI_NAMESPACE = 'k8s.io';
let containerd: Containerd;
let neighbour: Pod;
let lasting: PodContainer;
/** Host path of a volume of all pods, and the neighbour's address. */
let shared: string;
let address: string;

beforeAll(async () => {
  containerd = await Containerd.start();
  shared = join(containerd.directory, 'shared');
  mkdirSync(shared);
  neighbour = await Pod.run(containerd, 'tskata');
  const server = 'mkdir /srv; head -c 8000000 /dev/zero > /srv/large; exec httpd -f -p 80 -h /srv';
  const mounts = [{ containerPath: '/shared', hostPath: shared }];
  lasting = await neighbour.start({ name: 'lasting', mounts, command: ['sh', '-c', server] });
  address = (await neighbour.status()).network?.ip ?? '';
  await eventually(async () => (await served()) === '8000000\n', 60_000, 'what the neighbour serves');
});

afterAll(async () => {
  await neighbour?.remove();
  await containerd?.dispose();
});

/** How many bytes the neighbour gives, asked by itself. */
async function served(): Promise<string> {
  return (await lasting.exec('sh', '-c', 'wget -q -O - http://127.0.0.1/large | wc -c')).stdout;
}

interface Victim {
  readonly name: string;
  readonly pid: (record: ContainerRecord) => number | undefined;
  /** Of the container. A Wait that breaks off with its shim is an unknown exit to CRI, whatever the runtime. */
  readonly exit: number;
}

const VICTIMS: readonly Victim[] = [
  { name: 'QEMU', pid: ({ qemu }) => qemu?.pid, exit: 137 },
  { name: 'the shim', pid: ({ shim }) => shim.pid, exit: 255 },
];

/** Output, files of a shared volume and what a neighbour serves, each without end: what is under way when the end comes. */
const busy = (name: string): string =>
  [
    'while :; do echo 0123456789; done &',
    `while :; do echo 0123456789 > /shared/${name}; done &`,
    `while wget -q -O /dev/null http://${address}/large; do touch /shared/${name}-fetched; done`,
  ].join('\n');
const LOADS = ['idle', 'busy'] as const;
const CASES = VICTIMS.flatMap((victim) => LOADS.map((load) => ({ ...victim, load })));

test.each(CASES)('$name of a pod is killed, its container being $load', async ({ name, pid, exit, load }) => {
  const pod = await Pod.run(containerd, 'tskata');
  const mounts = [{ containerPath: '/shared', hostPath: shared }];
  const file = name.replace(/.* /, '');
  const command = load === 'busy' ? ['sh', '-c', busy(file)] : ['sleep', '1000'];
  const container = await pod.start({ name: 'c', mounts, command });
  if (load === 'busy') {
    const isBusy = (): boolean => existsSync(join(shared, `${file}-fetched`)) && existsSync(join(shared, file));
    await eventually(isBusy, 60_000, 'a busy container');
  }
  const record = new StateStore(containerd.runRoot).find(CRI_NAMESPACE, pod.id);
  if (record === undefined) throw new Error(`there is no record of ${pod.id}`);
  process.kill(pid(record) ?? 0, 'SIGKILL');
  expect(await container.exit()).toBe(exit);
  const isDown = async (): Promise<boolean> => (await pod.status()).state === PodSandboxState.SANDBOX_NOTREADY;
  await eventually(isDown, 30_000, 'a pod that is not ready');
  await pod.stop();
  await pod.remove();
  const { items } = await containerd.cri.runtime.listPodSandbox({});
  expect(items.map(({ id }) => id)).toEqual([neighbour.id]);
  expect(await served()).toBe('8000000\n');
});
