/**
 * Pods by CRI, each scenario on runc and on tskata: init containers, shared and own namespaces, names, kernel
 * parameters, exits, restarts in a living pod, limits, process ids of the pod. What was seen must be equal but for
 * fixtures/pod-differences.ts.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Containerd } from '../../helpers/containerd.ts';
import { Comparison } from '../../helpers/cri/comparison.ts';
import { ContainerState, NamespaceMode, PodSandboxState } from '../../helpers/cri/generated/cri.ts';
import { type ContainerOptions, type Handler, Pod, type PodContainer } from '../../helpers/cri/pod.ts';
import type { Result } from '../../helpers/tskata.ts';
import { POD_DIFFERENCES } from './fixtures/pod-differences.ts';

// For a machine with several times more work than cores.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const HANDLERS: readonly Handler[] = ['runc', 'tskata'];
const MIB = 1024n * 1024n;
/** Waits for signals as a well-made server does, and ends in order. */
const SERVER = ['sh', '-c', 'trap "echo bye; exit 0" TERM; echo up; while :; do sleep 1000 & wait; done'];
const BOOT_ID = 'cat /proc/sys/kernel/random/boot_id';

let containerd: Containerd;
const comparison = new Comparison();

beforeAll(async () => {
  containerd = await Containerd.start();
});

afterAll(() => containerd?.dispose());

const shown = ({ status, stdout, stderr }: Result): string => JSON.stringify({ status, stdout, stderr });

/** Code and words of a refused call; ids are left out. */
const refusal = async (call: Promise<unknown>): Promise<string> =>
  await call.then(
    () => 'not refused',
    (error: Error) => error.message.replace(/[0-9a-f]{64}/g, 'ID'),
  );

const sharing = (pid: number, targetId = '') => ({ securityContext: { namespaceOptions: { pid, targetId } } });

/** For what only a machine has: there is nothing to compare with. */
function onMachines(handler: string): (name: string, run: () => Promise<void>) => void {
  return handler === 'tskata' ? test : () => undefined;
}

describe.each(HANDLERS)('a pod on %s', (handler) => {
  let pod: Pod;
  let volume: Pick<ContainerOptions, 'mounts'>;
  let first: PodContainer;
  let second: PodContainer;
  let bootId: string;
  const see = (name: string, value: string | number | boolean) => comparison.see(handler, name, value);

  beforeAll(async () => {
    const directory = join(containerd.directory, 'volumes', handler);
    mkdirSync(directory, { recursive: true });
    volume = { mounts: [{ containerPath: '/v', hostPath: directory }] };
    pod = await Pod.run(containerd, handler, {
      hostname: 'web-0',
      linux: {
        ...sharing(NamespaceMode.CONTAINER),
        sysctls: new Map([
          ['kernel.shm_rmid_forced', '1'],
          ['net.core.somaxconn', '333'],
        ]),
        resources: { cpuPeriod: 100_000, cpuQuota: 200_000 },
      },
    });
  });

  afterAll(() => pod?.remove());

  const own = { linux: sharing(NamespaceMode.CONTAINER) };
  const shell = (script: string, options: Partial<ContainerOptions> = {}) => pod.shell(script, { ...own, ...options });

  test('init containers run before, one after the other', async () => {
    const one = await shell('hostname > /v/ready; echo one; echo two >&2', volume);
    see('first init', shown(one));
    see('second init', shown(await shell('cat /v/ready; exit 3', volume)));
  });

  test('app containers share network, IPC, names and volumes, and see processes of their own only', async () => {
    first = await pod.start({ name: 'first', ...own, ...volume, command: SERVER });
    second = await pod.start({ name: 'second', ...own, ...volume, command: ['httpd', '-f', '-p', '8080', '-h', '/v'] });
    const namespaces = 'cd /proc/self/ns; for name in ipc uts net pid mnt; do echo $name $(readlink $name); done';
    const [left, right] = await Promise.all([first.output(namespaces), second.output(namespaces)]);
    const rights = right.split('\n');
    see(
      'shared namespaces',
      left
        .split('\n')
        .map((line, index) => `${line.split(' ')[0]}:${line === rights[index]}`)
        .join(),
    );
    const web = 'for i in $(seq 50); do wget -qO- http://127.0.0.1:8080/ready && exit; sleep 0.2; done; exit 1';
    see('localhost', await first.output(web));
    await first.output('echo shared > /dev/shm/note');
    see('/dev/shm', await second.output('cat /dev/shm/note; rm /dev/shm/note'));
    see('processes', await first.output("ps -o pid,comm | head -3 | awk '{ print ($1 == 1), $2 }'"));
    see('names', await first.output('hostname; echo $HOSTNAME; cat /etc/hostname /etc/resolv.conf'));
    see('kernel parameters', await second.output('cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/core/somaxconn'));
    see('mounts', await first.output("awk '{ print $2, $3 }' /proc/mounts | sort"));
    bootId = await first.output(BOOT_ID);
  });

  test('the state of a pod is told', async () => {
    const { state, network, runtimeHandler } = await pod.status();
    see('pod state', state === PodSandboxState.SANDBOX_READY);
    see('pod address', network?.ip.startsWith('10.88.') === true);
    expect(runtimeHandler).toBe(handler);
    const list = await containerd.cri.runtime.listContainers({ filter: { podSandboxId: pod.id } });
    const states = list.containers.map(({ metadata, state: of }) => `${metadata?.name}:${of}`);
    see('containers', states.toSorted().join());
    const { stats } = await containerd.cri.runtime.containerStats({ containerId: first.id });
    see(
      'stats',
      `${stats?.cpu?.usageCoreNanoSeconds?.value !== 0n} ${(stats?.memory?.workingSetBytes?.value ?? 0n) > 0n}`,
    );
  });

  test('programs in a container, and what they refuse', async () => {
    see('exec', shown(await first.exec('sh', '-c', 'echo out; echo err >&2; exit 7')));
    see(
      'exec of much',
      await first
        .output(
          'dd if=/dev/zero bs=1024 count=2048 2>/dev/null | md5sum; dd if=/dev/zero bs=1024 count=1024 2>/dev/null',
        )
        .then((text) => `${text.length} ${text.slice(0, 32)}`),
    );
    see('exec of nothing', await refusal(first.exec('/bin/nope')));
    see(
      'exec beyond its time',
      await refusal(containerd.cri.runtime.execSync({ containerId: first.id, cmd: ['sleep', '1000'], timeout: 1 })),
    );
  });

  test('exits, logs and refusals are those of any runtime', async () => {
    const failing = await pod.start({ name: 'failing', ...own, command: ['sh', '-c', 'printf half; echo; exit 42'] });
    await failing.exit();
    const status = await failing.status();
    // A container can be over before containerd notes that it was started.
    see('exit', `${status.exitCode} ${status.reason} ${status.finishedAt > status.createdAt}`);
    see('log', failing.log('stdout'));
    see('exec in an ended container', await refusal(failing.exec('true')));
    await failing.remove();
    const missing = await pod.create({ name: 'missing', ...own, command: ['/bin/nope'] });
    see('start of nothing', await refusal(missing.start()));
    const { state, exitCode, reason } = await missing.status();
    see('state after it', `${state} ${exitCode} ${reason}`);
    await missing.remove();
  });

  test('containers restart in a living pod, also after the last one has ended', async () => {
    await first.stop(30);
    see('asked to end', `${await first.exit()} ${first.log('stdout')}`);
    await second.stop(0);
    see('killed', await second.exit());
    await Promise.all([first.remove(), second.remove()]);
    expect((await pod.status()).state).toBe(PodSandboxState.SANDBOX_READY);
    const again = await pod.start({ name: 'first', ...own, ...volume, command: SERVER });
    see('the same machine', (await again.output(BOOT_ID)) === bootId);
    see('volumes after a restart', await again.output('cat /v/ready; ls /dev/shm'));
    // Ended without being stopped, and not removed before the next attempt: kubelet keeps the last one.
    await again.exec('kill', '-9', '-1');
    await again.stop(0);
    const third = await pod.start({ name: 'first', ...own, command: SERVER });
    see('third attempt', (await third.status()).state === ContainerState.CONTAINER_RUNNING);
    await Promise.all([again.remove(), third.stop(0)]);
  });

  test('limits hold, are told when they are exceeded, and can be changed', async () => {
    const limited = { linux: { ...own.linux, resources: { memoryLimitInBytes: 64n * MIB } } };
    const eater = await pod.start({ name: 'eater', ...limited, command: ['sh', '-c', 'tail -c 200m /dev/zero'] });
    await eater.exit();
    const { exitCode, reason } = await eater.status();
    see('out of memory', `${exitCode} ${reason}`);
    await eater.remove();
    const container = await pod.start({ name: 'limited', ...limited, command: SERVER });
    const files = '/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes';
    const limit = () => container.output(`cat ${files} 2>/dev/null; true`);
    see('limit', await limit());
    const linux = { memoryLimitInBytes: 96n * MIB };
    await containerd.cri.runtime.updateContainerResources({ containerId: container.id, linux });
    see('limit after a change', await limit());
    await container.stop();
    await container.remove();
  });

  onMachines(handler)('a limit on CPU gives CPUs to the machine and leaves its memory as it is', async () => {
    const { stdout } = await shell('nproc; cat /proc/meminfo');
    expect(stdout).toMatch(/^2\n/);
    const kib = Number(/MemTotal: +([0-9]+) kB/.exec(stdout)?.[1]);
    expect(kib).toBeGreaterThan(400 * 1024);
    expect(kib).toBeLessThanOrEqual(512 * 1024);
  });
});

describe.each(HANDLERS)('a pod with shared process ids on %s', (handler) => {
  let pod: Pod;
  const see = (name: string, value: string | number | boolean) => comparison.see(handler, `shared: ${name}`, value);

  beforeAll(async () => {
    pod = await Pod.run(containerd, handler, { linux: sharing(NamespaceMode.POD) });
  });

  afterAll(() => pod?.remove());

  test('containers see each other below the first process of the pod', async () => {
    const linux = sharing(NamespaceMode.POD);
    const server = await pod.start({ name: 'server', linux, command: ['sleep', '1234'] });
    const other = await pod.start({ name: 'other', linux, command: SERVER });
    see('processes', await other.output("ps -o pid,args | awk '/pause|1234/ && !/awk/ { print ($1 == 1), $2, $3 }'"));
    see('orphans are reaped', await other.output('(sleep 0.1 &) ; sleep 1; ps -o stat | grep -c Z; true'));
    await other.output(
      'kill -9 $(pidof sleep | tr " " "\\n" | while read p; do grep -qz 1234 /proc/$p/cmdline && echo $p; done)',
    );
    see('killed from another container', await server.exit());
    await other.stop();
  });

  onMachines(handler)('processes of the node are those of the pod: its node is the machine', async () => {
    const linux = sharing(NamespaceMode.NODE);
    const { stdout } = await pod.shell("ps -o pid,args | awk '$1 == 1 { print $2 }'", { linux });
    expect(stdout).toBe('/pause\n');
  });

  test('a debugging container sees the processes of its target alone', async () => {
    const target = await pod.start({
      name: 'target',
      linux: sharing(NamespaceMode.CONTAINER),
      command: ['sleep', '77'],
    });
    const linux = sharing(NamespaceMode.TARGET, target.id);
    see(
      'target',
      shown(await pod.shell("ps -o pid,args | grep -v ps | awk '{ print $1, $2, $3 }' | head -2", { linux })),
    );
    await target.stop();
  });
});

const IDLE_MS = 10_000;

test('an idle pod costs the host what its RuntimeClass says', async () => {
  const before = new Set((await containerd.traces()).processes);
  const pod = await Pod.run(containerd, 'tskata');
  const container = await pod.start({ name: 'idle', command: ['sleep', '1000'] });
  const traces = await containerd.traces();
  const processes = traces.processes.filter((line) => !before.has(line));
  expect(processes.join('\n')).toMatch(/qemu-system/);
  // What has to be gone at the end is seen now; a published port it has none.
  const kinds = Object.entries(traces).filter(([, lines]) => lines.length > 0);
  expect(kinds.map(([kind]) => kind).toSorted()).toEqual(
    Object.keys(traces)
      .filter((kind) => kind !== 'portRules')
      .toSorted(),
  );
  const kib = processes.map((line) => proportionalKib(Number(line.split(' ')[1])));
  const mib = kib.reduce((sum, one) => sum + one, 0) / 1024;
  const manifest = readFileSync(join(import.meta.dirname, '../../../deploy/runtimeclass.yaml'), 'utf8');
  const overheadMib = Number(/^ +memory: "(\d+)Mi"$/m.exec(manifest)?.[1]);
  process.stderr.write(`an idle pod: ${mib.toFixed(0)} MiB of ${overheadMib}\n`);
  expect(mib).toBeLessThan(overheadMib);
  expect(mib).toBeGreaterThan(overheadMib / 3);
  const pids = processes.map((line) => Number(line.split(' ')[1]));
  const beforeMs = cpuMs(pids);
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  const milliCpus = ((cpuMs(pids) - beforeMs) / IDLE_MS) * 1_000;
  const overheadCpus = Number(/^ +cpu: "(\d+)m"$/m.exec(manifest)?.[1]);
  process.stderr.write(`an idle pod: ${milliCpus.toFixed(0)} of ${overheadCpus} thousandths of a processor\n`);
  expect(milliCpus).toBeLessThan(overheadCpus);
  await container.stop();
  await pod.remove();
});

/** Processor time of processes so far, in milliseconds (a tick of the kernel's is 10). */
function cpuMs(pids: readonly number[]): number {
  const ticks = pids.map((pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  });
  return 10 * ticks.reduce((sum, one) => sum + one, 0);
}

/** Memory of a process, with its part of what it shares. */
function proportionalKib(pid: number): number {
  return Number(/^Pss: +(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]);
}

test('a pod that is stopped ends its containers, and stopping or removing it again is fine', async () => {
  for (const handler of HANDLERS) {
    const pod = await Pod.run(containerd, handler);
    const container = await pod.start({ name: 'c', command: ['sleep', '1000'] });
    await pod.stop();
    comparison.see(
      handler,
      'containers of a stopped pod',
      `${(await container.status()).state} ${await container.exit()}`,
    );
    comparison.see(handler, 'a stopped pod', (await pod.status()).state === PodSandboxState.SANDBOX_NOTREADY);
    comparison.see(
      handler,
      'a container for a stopped pod',
      /NOT_READY|not running|not found/i.test(await refusal(pod.start({ name: 'd' }))),
    );
    await pod.stop();
    await pod.remove();
    await containerd.cri.runtime.removePodSandbox({ podSandboxId: pod.id });
    const { items } = await containerd.cri.runtime.listPodSandbox({});
    expect(items.map(({ id }) => id)).not.toContain(pod.id);
  }
});

test('nothing is left of any pod', async () => {
  await containerd.settled();
});

test('both runtimes showed the same, but for what is listed', () => {
  expect(comparison.problems(POD_DIFFERENCES)).toEqual([]);
});
