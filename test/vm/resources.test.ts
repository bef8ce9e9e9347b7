/**
 * The limits and counters of a container in a real machine: what the guest's kernel was told, what it counts under load,
 * how an update changes it meanwhile, and what is charged to the host's group. One machine answers all.
 */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAX_TTRPC_MESSAGE_BYTES } from '../../agent/protocol/limits.ts';
import type { Client } from '../../agent/protocol/service.ts';
import { createClient, TtrpcClient } from '../../agent/protocol/ttrpc/client.ts';
import { ChannelPipe } from '../../agent/protocol/ttrpc/pipe.ts';
import { findHierarchies } from '../../runtime/helper/hierarchies.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { socketChannel } from '../../runtime/host/socket-channel.ts';
import { Metrics } from '../../shim/task/generated/cgroups.ts';
import { Task } from '../../shim/task/generated/task.ts';
import { eventually, Tskata } from '../helpers/tskata.ts';

const MIB = 1024 * 1024;
const CALL = { timeoutMs: 60_000 };
const RESOURCES_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/LinuxResources';
const CPU_WAIT_MS = 60_000;
/** Many calls, each of which waits for a processor on a busy machine. */
const SLOW_MS = 180_000;

let tskata: Tskata;
let id: string;
let socket: Socket;
let task: Client<typeof Task>;
let qemu: number;

/** Standard output of a line run in the container. */
async function inside(line: string): Promise<string> {
  return await tskata.ok('exec', id, 'sh', '-c', line);
}

async function metrics(): Promise<Metrics> {
  const { stats } = await task.stats({ id }, CALL);
  expect(stats?.typeUrl).toBe('io.containerd.cgroups.v2.Metrics');
  return Metrics.decode(stats?.value ?? new Uint8Array());
}

async function update(resources: object): Promise<void> {
  await task.update(
    { id, resources: { typeUrl: RESOURCES_TYPE, value: Buffer.from(JSON.stringify(resources)) } },
    CALL,
  );
}

/** A control file of the sandbox's group on this host, by its name in either version. */
function hostGroup(controller: 'memory' | 'cpu', v1: string, v2: string): string {
  const found = findHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'));
  if (found === undefined) throw new Error('this host has no cgroups');
  const [mount, file] = found.version === 2 ? [found.mount, v2] : [found.mounts.get(controller), v1];
  return readFileSync(`${mount}/tskata/${id}/${file}`, 'utf8').trim();
}

beforeAll(async () => {
  tskata = await Tskata.withBusybox();
  id = await tskata.ok('run', '-d', '-m', '200m', '--cpus', '1', '--pids-limit', '60', 'busybox', 'sleep', '100000');
  const record = tskata.record(id);
  qemu = record.qemu?.pid ?? 0;
  socket = connect(record.socket);
  await once(socket, 'connect');
  const channel = socketChannel(socket);
  task = createClient(Task, new TtrpcClient(new ChannelPipe(channel, MAX_TTRPC_MESSAGE_BYTES), nodeClock));
  channel.setReading(true);
});
afterAll(async () => {
  socket?.destroy();
  await tskata.call(['rm', '-f', id]);
  tskata.dispose();
});

describe('limits', () => {
  it('are those of the guest kernel', async () => {
    const files = ['memory.max', 'memory.swap.max', 'cpu.max', 'pids.max'];
    const text = await inside(`cd /sys/fs/cgroup; for f in ${files.join(' ')}; do echo $f=$(cat $f 2>/dev/null); done`);
    expect(text.split('\n')).toEqual([
      `memory.max=${200 * MIB}`,
      expect.stringMatching(/^memory\.swap\.max=0?$/),
      'cpu.max=100000 100000',
      'pids.max=60',
    ]);
    expect(await metrics()).toMatchObject({
      memory: { usageLimit: BigInt(200 * MIB) },
      pids: { limit: 60n },
    });
  });

  it('of the host hold the machine and its programs, with room', () => {
    const limit = Number(hostGroup('memory', 'memory.limit_in_bytes', 'memory.max'));
    expect(limit).toBe((512 + 640) * MIB);
    const used = Number(hostGroup('memory', 'memory.usage_in_bytes', 'memory.current'));
    expect(used).toBeGreaterThan(64 * MIB);
    expect(hostGroup('cpu', 'cpu.cfs_quota_us', 'cpu.max')).toMatch(/^200000/);
    expect(readFileSync(`/proc/${qemu}/cgroup`, 'utf8')).toContain(`/tskata/${id}`);
  });
});

describe('counters', () => {
  it(
    'are what the container really did',
    async () => {
      const before = await metrics();
      await inside('dd if=/dev/zero of=/dev/shm/held bs=1M count=40 2>/dev/null');
      await inside('dd if=/dev/zero of=/written bs=1M count=24 2>/dev/null; sync');
      await inside('for i in 1 2 3 4 5 6 7; do sleep 1000 </dev/null >/dev/null 2>&1 & done');
      expect(Number((await metrics()).pids?.current ?? 0n) - Number(before.pids?.current ?? 0n)).toBe(7);
      // Packets that need no answer.
      await inside('for i in 1 2 3; do timeout 1 ping -c 1 10.0.2.2 >/dev/null 2>&1; done; true');
      await inside('n=0; while [ $n -lt 60000 ]; do n=$((n+1)); done');
      const after = await metrics();
      const grown = (read: (of: Metrics) => bigint | undefined): number =>
        Number((read(after) ?? 0n) - (read(before) ?? 0n));
      expect(grown(({ memory }) => memory?.shmem)).toBeGreaterThanOrEqual(40 * MIB);
      expect(grown(({ memory }) => memory?.usage)).toBeGreaterThanOrEqual(40 * MIB);
      expect(grown(({ memory }) => memory?.pgfault)).toBeGreaterThan(1000);
      expect(grown(({ cpu }) => cpu?.usageUsec)).toBeGreaterThan(50_000);
      expect(grown(({ cpu }) => cpu?.userUsec)).toBeGreaterThan(0);
      expect(grown(({ cpu }) => cpu?.systemUsec)).toBeGreaterThan(0);
      const written = ({ io }: Metrics): bigint => (io?.usage ?? []).reduce((sum, { wbytes }) => sum + wbytes, 0n);
      expect(grown(written)).toBeGreaterThanOrEqual(24 * MIB);
      const sent = ({ network }: Metrics): bigint => network.find(({ name }) => name !== 'lo')?.txBytes ?? 0n;
      expect(grown(sent)).toBeGreaterThan(0);
      await inside('rm /dev/shm/held; killall sleep 2>/dev/null; true').catch(() => undefined);
    },
    SLOW_MS,
  );
});

describe('an update', () => {
  it(
    'changes limits under load, in the guest and on the host',
    async () => {
      const load = tskata.start(['exec', id, 'sh', '-c', 'while :; do :; done']);
      try {
        await update({ memory: { limit: 300 * MIB }, cpu: { quota: 20_000, period: 100_000 }, pids: { limit: 50 } });
        expect(await metrics()).toMatchObject({ memory: { usageLimit: BigInt(300 * MIB) }, pids: { limit: 50n } });
        const { cpu } = await metrics();
        const throttled = Number(cpu?.nrThrottled ?? 0n);
        await eventually(
          async () => Number((await metrics()).cpu?.nrThrottled ?? 0n) > throttled + 3,
          CPU_WAIT_MS,
          'the load is throttled',
        );
        expect(hostGroup('cpu', 'cpu.cfs_quota_us', 'cpu.max')).toMatch(/^120000/);
      } finally {
        load.kill('SIGKILL');
      }
    },
    SLOW_MS,
  );

  it('beyond what the machine holds is refused, and changes nothing', async () => {
    await expect(update({ memory: { limit: 400 * MIB } })).rejects.toThrow(
      'a memory limit of 400 MiB; its machine has 512 MiB, of which containers can have 384',
    );
    await expect(update({ cpu: { quota: 300_000, period: 100_000 } })).rejects.toThrow('3 CPUs; its machine has 1');
    await expect(update({ memory: { limt: 1 } })).rejects.toThrow('memory.limt: unknown field');
    expect(await metrics()).toMatchObject({ memory: { usageLimit: BigInt(300 * MIB) } });
  });

  it('takes what kubelet sends: every field, zeros for sizes of huge pages that the guest has not', async () => {
    await update({
      memory: { limit: 256 * MIB },
      cpu: { shares: 512, quota: 100_000, period: 100_000, cpus: '0' },
      hugepageLimits: [
        { pageSize: '2MB', limit: 0 },
        { pageSize: '1GB', limit: 0 },
      ],
      unified: { 'memory.oom.group': '0' },
    });
    expect(await inside('cat /sys/fs/cgroup/cpu.weight')).toBe('20');
    const allowed = /Cpus_allowed_list:\s*(\S+)/.exec(readFileSync(`/proc/${qemu}/status`, 'utf8'))?.[1];
    expect(allowed).toBe('0');
  });
});

describe('out of memory', () => {
  it(
    'ends a process of the container; machine and host group stay within their limits',
    async () => {
      const { status } = await tskata.call(['exec', id, 'sh', '-c', 'dd if=/dev/zero of=/dev/null bs=320M count=1']);
      expect(status).toBe(137);
      const { memoryEvents } = await metrics();
      expect(Number(memoryEvents?.oomKill ?? 0n)).toBeGreaterThan(0);
      expect(await inside('echo alive')).toBe('alive');
      expect(existsSync(`/proc/${qemu}`)).toBe(true);
      const most = Number(hostGroup('memory', 'memory.max_usage_in_bytes', 'memory.peak'));
      expect(most).toBeLessThan((512 + 640) * MIB);
    },
    SLOW_MS,
  );
});
