/** The life of a pod by CRI on later releases of containerd: `pods.test.ts` looks closely on the first one. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { CONTAINERD_RELEASES, type ContainerdRelease } from '../../helpers/containerd/programs.ts';
import { Containerd } from '../../helpers/containerd.ts';
import { ContainerState } from '../../helpers/cri/generated/cri.ts';
import { Pod } from '../../helpers/cri/pod.ts';
import { eventually } from '../../helpers/tskata.ts';

// For a machine with several times more work than cores.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const MIB = 1024n * 1024n;
/** So long a daemon is away; longer than the program that ends meanwhile. */
const AWAY_MS = 5_000;
const LATER: readonly ContainerdRelease[] = ['1.7', '2.1'];

describe.each(LATER)('containerd %s', (release) => {
  let containerd: Containerd;

  beforeAll(async () => {
    containerd = await Containerd.start({ release });
  });

  afterAll(() => containerd?.dispose());

  test('runs a pod with the configuration that users are told to add', async () => {
    const { runtimeVersion } = await containerd.cri.runtime.version({});
    expect(runtimeVersion).toMatch(new RegExp(`^${release.replace('.', '\\.')}\\.`));
    const pod = await Pod.run(containerd, 'tskata', { hostname: 'web-0' });
    expect((await pod.status()).network?.ip).toMatch(/^10\.88\./);
    const init = await pod.shell('hostname; uname -r; exit 3');
    expect(init.status).toBe(3);
    expect(init.stdout).toMatch(/^web-0\n.*tskata/);
    const container = await pod.start({ name: 'app', command: ['sleep', '1000'] });
    expect(await container.exec('sh', '-c', 'echo out; exit 7')).toEqual({ status: 7, stdout: 'out\n', stderr: '' });
    const { stats } = await containerd.cri.runtime.containerStats({ containerId: container.id });
    expect(stats?.memory?.workingSetBytes?.value).toBeGreaterThan(0n);
    const network = (await containerd.cri.runtime.podSandboxStats({ podSandboxId: pod.id })).stats?.linux?.network;
    expect(network?.defaultInterface?.name).toBe('eth0');
    await container.stop();
    expect(await container.exit()).toBe(137);
    expect((await pod.shell('echo again')).stdout).toBe('again\n');
    await pod.remove();
  });

  test("carries kubectl's streams: a terminal, an attached input, a forwarded port", async () => {
    const pod = await Pod.run(containerd, 'tskata');
    const server = 'echo "in /" > /index.html; exec httpd -f -p 127.0.0.1:8080 -h /';
    const container = await pod.start({ name: 'app', command: ['sh', '-c', server] });
    const typed = await container.type('hello\n', 'sh', '-c', 'read word; stty size; tty; echo got $word; exit 6');
    expect(typed).toMatchObject({ status: 6, stdout: 'hello\r\n24 80\r\n/dev/pts/0\r\ngot hello\r\n' });
    const echo = { stdin: true, stdinOnce: true, command: ['sh', '-c', 'read word; echo got $word; exit 5'] };
    const reader = await pod.start({ name: 'reader', ...echo });
    expect(await reader.attach('hello\n')).toMatchObject({ stdout: 'got hello\n' });
    expect(await reader.exit()).toBe(5);
    const page = await pod.forward(8080, 'GET /index.html HTTP/1.0\r\n\r\n');
    expect(page.stdout).toMatch(/^HTTP\/1\.[01] 200 OK[\s\S]*in \/\n$/);
    await pod.remove();
  });

  test('holds and changes limits, and tells of a container that exceeded them', async () => {
    const pod = await Pod.run(containerd, 'tskata');
    const limited = { linux: { resources: { memoryLimitInBytes: 64n * MIB } } };
    const eater = await pod.start({ name: 'eater', ...limited, command: ['sh', '-c', 'tail -c 200m /dev/zero'] });
    expect(await eater.exit()).toBe(137);
    expect((await eater.status()).reason).toBe('OOMKilled');
    const container = await pod.start({ name: 'limited', ...limited, command: ['sleep', '1000'] });
    const limit = 'cat /sys/fs/cgroup/memory.max';
    expect(await container.output(limit)).toBe(`${64n * MIB}\n`);
    const linux = { memoryLimitInBytes: 96n * MIB };
    await containerd.cri.runtime.updateContainerResources({ containerId: container.id, linux });
    expect(await container.output(limit)).toBe(`${96n * MIB}\n`);
    await pod.remove();
  });
});

/** Of each release, the first one too: containerd's own restart is where they differ most. */
describe.each(CONTAINERD_RELEASES)('containerd %s', (release) => {
  test('finds again what ran on and what ended while it was away', async () => {
    const containerd = await Containerd.start({ release });
    onTestFinished(() => containerd.dispose());
    const pod = await Pod.run(containerd, 'tskata');
    const staying = await pod.start({ name: 'staying', command: ['sleep', '1000'] });
    const ending = await pod.start({ name: 'ending', command: ['sh', '-c', 'sleep 2; exit 9'] });
    await containerd.halt('SIGKILL');
    await sleep(AWAY_MS);
    await containerd.boot();
    // CRI answers a moment after the daemon.
    const isServing = () =>
      containerd.cri.runtime.listPodSandbox({}).then(
        () => true,
        () => false,
      );
    await eventually(isServing, 60_000, 'a CRI that answers');
    expect(await ending.exit()).toBe(9);
    expect((await staying.status()).state).toBe(ContainerState.CONTAINER_RUNNING);
    expect(await staying.exec('sh', '-c', 'exit 4')).toMatchObject({ status: 4 });
    expect((await pod.shell('echo again')).stdout).toBe('again\n');
    await pod.remove();
  });
});
