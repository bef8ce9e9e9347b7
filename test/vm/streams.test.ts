/**
 * The contract over a real guest's ports: bulk arrives whole both ways, calls are answered meanwhile, and a stream that
 * nobody reads stands alone.
 *
 * The rate is judged by the guest's CPU time, because the clock would judge other work: `streams-cost.test.ts` counts what
 * the bytes cost, and `npm run bench` times a GiB each way. A call has its promised time on an idle machine; on a busy one
 * it must not take much longer than it does without the bytes.
 */
import { createHash } from 'node:crypto';
import { loadavg } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blocks, StreamGuest, sendBlocks } from '../helpers/stream-guest.ts';

const GIB = 1024 ** 3;
const RATE_BYTES = 256 * 1024 * 1024;
/** Far below what an emulated guest does in a second of its CPU, so that only a real loss of speed shows. */
const LEAST_MB_PER_CPU_S = 15;
const PROMISED_P99_MS = 100;
/** On a busy machine: for how long calls are timed without bytes, and how many times as long they may take with them. */
const ALONE_MS = 5_000;
const SLOWER = 10;

let guest: StreamGuest;

beforeAll(async () => {
  guest = await StreamGuest.start();
});

afterAll(() => guest.end());

/** Whether nothing else keeps this machine's processors busy. */
function isCalm(): boolean {
  return (loadavg()[0] ?? Number.POSITIVE_INFINITY) < 1;
}

/** What a call may take at the 99th percentile beside the bytes. */
async function allowedP99(): Promise<number> {
  if (isCalm()) return PROMISED_P99_MS;
  const alone = await guest.withCalls(() => new Promise((resolve) => setTimeout(resolve, ALONE_MS)));
  return SLOWER * Math.max(alone, PROMISED_P99_MS);
}

async function measured(name: string, bytes: number, work: () => Promise<void>): Promise<void> {
  const [calm, allowed] = [isCalm(), await allowedP99()];
  const [startedMs, startedCpu] = [performance.now(), await guest.cpuSeconds()];
  const p99 = await guest.withCalls(work);
  const wall = bytes / 1e3 / (performance.now() - startedMs);
  const cpu = bytes / 1e6 / ((await guest.cpuSeconds()) - startedCpu);
  console.log(
    `${name}: ${wall.toFixed(0)} MB/s, ${cpu.toFixed(0)} MB per CPU second of the guest, a call's p99 ${p99.toFixed(0)} ms${calm ? '' : ' (busy machine)'}`,
  );
  expect(cpu).toBeGreaterThan(LEAST_MB_PER_CPU_S);
  expect(p99).toBeLessThan(allowed);
}

describe('bytes of a guest', () => {
  it('come out fast enough, while calls are answered', { timeout: 600_000 }, async () => {
    const process = await guest.run('out', `dd if=/dev/zero bs=64k count=${RATE_BYTES / 65_536} 2>/dev/null`);
    let received = 0;
    await measured('out of the guest', RATE_BYTES, async () => {
      for await (const bytes of process.stdout) received += bytes.length;
    });
    expect(received).toBe(RATE_BYTES);
    await process.finish();
  });

  it('go in fast enough, while calls are answered', { timeout: 600_000 }, async () => {
    const process = await guest.run('in', 'dd bs=64k of=/dev/null 2>/dev/null; echo done');
    let answer = '';
    await measured('into the guest', RATE_BYTES, async () => {
      await sendBlocks(process.stdin, RATE_BYTES);
      for await (const bytes of process.stdout) answer += Buffer.from(bytes).toString();
    });
    expect(answer).toBe('done\n');
    await process.finish();
  });

  it('are the same after 1 GiB each way, beside a stream that nobody reads', { timeout: 1_200_000 }, async () => {
    const idle = await guest.run('unread', 'cat /dev/zero');
    const echo = await guest.run('echo', 'cat');
    const [sentHash, receivedHash] = [createHash('sha256'), createHash('sha256')];
    for (const block of blocks(GIB)) sentHash.update(block);
    let received = 0;
    const allowed = await allowedP99();
    const p99 = await guest.withCalls(async () => {
      const sending = sendBlocks(echo.stdin, GIB);
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
