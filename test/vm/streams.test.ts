/**
 * The contract over a real guest's ports: bulk arrives whole both ways, calls are answered meanwhile, and a stream that
 * nobody reads stands alone.
 *
 * The rate is judged by the guest's CPU time, because the clock would judge other work, and `streams-cost.test.ts` counts
 * what the bytes cost. A call has its promised time on an idle machine; on a busy one it must not take much longer than
 * it does without the bytes.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ByteStream } from '../../runtime/agent-client/byte-stream.ts';
import { type AgentVm, powerOff, startAgentVm } from '../helpers/agent-vm.ts';
import { rootStorages, testSpec } from '../helpers/container-defaults.ts';
import { makeTestDisks, type TestDisks } from '../helpers/test-disks.ts';

const GIB = 1024 ** 3;
const RATE_BYTES = 256 * 1024 * 1024;
/** Far below what an emulated guest does in a second of its CPU, so that only a real loss of speed shows. */
const LEAST_MB_PER_CPU_S = 15;
const PROMISED_P99_MS = 100;
/** On a busy machine: for how long calls are timed without bytes, and how many times as long they may take with them. */
const ALONE_MS = 5_000;
const SLOWER = 10;

/** What is sent: random, so that a lost or doubled piece cannot look like another. */
const block = randomBytes(1024 * 1024);

let disks: TestDisks;
let vm: AgentVm;

beforeAll(async () => {
  disks = await makeTestDisks();
  vm = await startAgentVm({
    disks: [
      { path: disks.busybox, readOnly: true },
      { path: await disks.scratch('scratch'), readOnly: false },
    ],
    // The processor of the profiles for emulation.
    qemu: ['-cpu', 'max,svm=off,la57=off,erms=off,fsrm=off'],
  });
  const wallClockNs = BigInt(Date.now()) * 1_000_000n;
  await vm.call.createSandbox({ sandboxId: 'sb', hostname: 'sandbox', wallClockNs, entropy: randomBytes(64) });
});

afterAll(async () => {
  await powerOff(vm);
  await disks.remove();
});

interface Running {
  readonly stdin: ByteStream;
  readonly stdout: ByteStream;
  finish(): Promise<number>;
}

async function start(containerId: string, script: string): Promise<Running> {
  const [stdin, stdout] = [vm.connection.openStream('to-guest'), vm.connection.openStream('from-guest')];
  await vm.call.createContainer(
    {
      containerId,
      storages: rootStorages(containerId),
      rootfsId: `${containerId}-root`,
      spec: testSpec(['sh', '-c', script]),
      streams: { stdin: stdin.id, stdout: stdout.id },
    },
    { timeoutMs: 60_000 },
  );
  await vm.call.startContainer({ containerId });
  return {
    stdin,
    stdout,
    finish: async () => {
      await vm.call.signalProcess({ containerId, signal: 9, all: true }).catch(() => {});
      const { exitStatus } = await vm.call.waitProcess({ containerId }, { timeoutMs: 20_000 });
      await vm.call.deleteContainer({ containerId });
      return exitStatus;
    },
  };
}

async function send(stream: ByteStream, total: number): Promise<void> {
  for (let sent = 0; sent < total; sent += block.length) await stream.write(block);
  stream.end();
}

/** CPU seconds of the thread that runs the guest: the busiest one of QEMU's. */
async function guestCpuSeconds(): Promise<number> {
  let most = 0;
  for (const thread of await readdir(`/proc/${vm.qemuPid}/task`)) {
    const stat = await readFile(`/proc/${vm.qemuPid}/task/${thread}/stat`, 'utf8').catch(() => '');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    most = Math.max(most, (Number(fields[11]) + Number(fields[12])) / 100 || 0);
  }
  return most;
}

/** Whether nothing else keeps this machine's processors busy. */
function isCalm(): boolean {
  return (loadavg()[0] ?? Number.POSITIVE_INFINITY) < 1;
}

/** What a call may take at the 99th percentile beside the bytes. */
async function allowedP99(): Promise<number> {
  if (isCalm()) return PROMISED_P99_MS;
  const alone = await withCalls(() => new Promise((resolve) => setTimeout(resolve, ALONE_MS)));
  return SLOWER * Math.max(alone, PROMISED_P99_MS);
}

/** Runs `work` while calls are made; gives the 99th percentile of their time. */
async function withCalls(work: () => Promise<void>): Promise<number> {
  const times: number[] = [];
  let busy = true;
  const calling = (async () => {
    while (busy) {
      const startedMs = performance.now();
      await vm.call.hello({ protocol: vm.connection.hello.protocol });
      times.push(performance.now() - startedMs);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  await work().finally(() => {
    busy = false;
  });
  await calling;
  times.sort((left, right) => left - right);
  return times[Math.floor(times.length * 0.99)] ?? Number.NaN;
}

async function measured(name: string, bytes: number, work: () => Promise<void>): Promise<void> {
  const [calm, allowed] = [isCalm(), await allowedP99()];
  const [startedMs, startedCpu] = [performance.now(), await guestCpuSeconds()];
  const p99 = await withCalls(work);
  const wall = bytes / 1e3 / (performance.now() - startedMs);
  const cpu = bytes / 1e6 / ((await guestCpuSeconds()) - startedCpu);
  console.log(
    `${name}: ${wall.toFixed(0)} MB/s, ${cpu.toFixed(0)} MB per CPU second of the guest, a call's p99 ${p99.toFixed(0)} ms${calm ? '' : ' (busy machine)'}`,
  );
  expect(cpu).toBeGreaterThan(LEAST_MB_PER_CPU_S);
  expect(p99).toBeLessThan(allowed);
}

describe('bytes of a guest', () => {
  it('come out fast enough, while calls are answered', { timeout: 600_000 }, async () => {
    const process = await start('out', `dd if=/dev/zero bs=64k count=${RATE_BYTES / 65_536} 2>/dev/null`);
    let received = 0;
    await measured('out of the guest', RATE_BYTES, async () => {
      for await (const bytes of process.stdout) received += bytes.length;
    });
    expect(received).toBe(RATE_BYTES);
    await process.finish();
  });

  it('go in fast enough, while calls are answered', { timeout: 600_000 }, async () => {
    const process = await start('in', 'dd bs=64k of=/dev/null 2>/dev/null; echo done');
    let answer = '';
    await measured('into the guest', RATE_BYTES, async () => {
      await send(process.stdin, RATE_BYTES);
      for await (const bytes of process.stdout) answer += Buffer.from(bytes).toString();
    });
    expect(answer).toBe('done\n');
    await process.finish();
  });

  it('are the same after 1 GiB each way, beside a stream that nobody reads', { timeout: 1_200_000 }, async () => {
    const idle = await start('unread', 'cat /dev/zero');
    const echo = await start('echo', 'cat');
    const [sentHash, receivedHash] = [createHash('sha256'), createHash('sha256')];
    for (let sent = 0; sent < GIB; sent += block.length) sentHash.update(block);
    let received = 0;
    const allowed = await allowedP99();
    const p99 = await withCalls(async () => {
      const sending = send(echo.stdin, GIB);
      for await (const bytes of echo.stdout) {
        receivedHash.update(bytes);
        received += bytes.length;
      }
      await sending;
    });
    expect(received).toBe(GIB);
    expect(receivedHash.digest('hex')).toBe(sentHash.digest('hex'));
    expect(p99).toBeLessThan(allowed);
    await echo.finish();
    idle.stdout.abort();
    await idle.finish();
  });
});
