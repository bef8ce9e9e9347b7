/**
 * The machine or the shim of a pod of CRI is killed: its container has exited, the pod can be stopped and removed as the
 * kubelet does, a neighbour does not notice, and nothing is left.
 */
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

beforeAll(async () => {
  containerd = await Containerd.start();
  neighbour = await Pod.run(containerd, 'tskata');
  lasting = await neighbour.start({ name: 'lasting', command: ['sleep', '1000'] });
});

afterAll(async () => {
  await neighbour?.remove();
  await containerd?.dispose();
});

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

test.each(VICTIMS)('$name of a pod is killed', async ({ pid, exit }) => {
  const pod = await Pod.run(containerd, 'tskata');
  const container = await pod.start({ name: 'c', command: ['sleep', '1000'] });
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
  expect((await lasting.exec('sh', '-c', 'exit 7')).status).toBe(7);
});
