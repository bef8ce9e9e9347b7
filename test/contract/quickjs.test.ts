/**
 * The contract between Node and QuickJS, over real sockets: the agent's side runs in a native program built like the
 * agent. 64-bit values, text and keys of the language arrive as they were; cuts and bulk do too.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { buildNative } from '../../agent/build.ts';
import type { Channel } from '../../agent/protocol/channel.ts';
import { Code, type TskataError } from '../../agent/protocol/errors.ts';
import {
  type AgentConnection,
  type ConnectOptions,
  connectAgent,
} from '../../runtime/agent-client/agent-connection.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { socketChannel } from '../../runtime/host/socket-channel.ts';
import { seeded } from '../helpers/agent-peer.ts';

let directory = '';
let program = '';
let child: ChildProcess | undefined;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tskata-contract-'));
  program = join(directory, 'agent');
  await buildNative({
    name: 'contract',
    entry: join(import.meta.dirname, 'fixtures/native-agent.ts'),
    outFile: program,
  });
}, 600_000);

afterAll(() => rm(directory, { recursive: true, force: true }));
afterEach(() => {
  child?.kill('SIGKILL');
  child = undefined;
});

/**
 * One port: the guest's end stays, connections of the host come and go on it. A connection may be given a number of
 * bytes after which it breaks, in the middle of whatever it was writing.
 */
class Port {
  private readonly base: Channel;
  private current: Channel | undefined;

  constructor(base: Channel) {
    this.base = base;
    base.onData = (bytes) => this.current?.onData(bytes);
    base.onDrain = () => this.current?.onDrain();
    base.onEnd = (error) => this.current?.onEnd(error);
    base.setReading(true);
  }

  connect(lifetimeBytes = Number.POSITIVE_INFINITY): Channel {
    let left = lifetimeBytes;
    const channel: Channel = {
      onData: () => {},
      onDrain: () => {},
      onEnd: () => {},
      setReading: () => {},
      write: (bytes) => {
        if (this.current !== channel) return true;
        const flowing = this.base.write(bytes.length <= left ? bytes : bytes.slice(0, left));
        left -= bytes.length;
        if (left <= 0) {
          this.current = undefined;
          setImmediate(() => channel.onEnd());
        }
        return flowing;
      },
      close: () => {
        if (this.current === channel) this.current = undefined;
      },
    };
    this.current = channel;
    return channel;
  }
}

interface Peer {
  readonly pid: number;
  connect(options?: ConnectOptions, controlBytes?: number, bytesBytes?: number): Promise<AgentConnection>;
}

function start(): Peer {
  const started = spawn(program, [], { stdio: ['ignore', 'ignore', 'inherit', 'pipe', 'pipe'] });
  child = started;
  const [, , , control, bytes] = started.stdio as unknown as readonly Duplex[];
  const ports = [new Port(socketChannel(control as Duplex)), new Port(socketChannel(bytes as Duplex))] as const;
  return {
    pid: started.pid ?? 0,
    connect: (options, controlBytes, bytesBytes) =>
      connectAgent(ports[0].connect(controlBytes), ports[1].connect(bytesBytes), nodeClock, options),
  };
}

const WIDE = [
  0n,
  1n,
  2n ** 31n,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 53n + 1n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];

describe('between Node and QuickJS', () => {
  it('64-bit values are exact, and keys of the language are only keys', async () => {
    const connection = await start().connect({ fresh: true });
    const stats = await connection.call.statsContainer({ containerId: WIDE.join(',') });
    expect([...(stats.memory?.stat.values() ?? [])]).toEqual(WIDE);
    expect([...(stats.memory?.stat.keys() ?? [])].slice(0, 2)).toEqual(['__proto__', 'constructor']);
    for (const value of WIDE) {
      const answer = await connection.call.statsContainer({ containerId: String(value) });
      expect(answer.cpu?.usageUsec).toBe(value);
    }
  });

  it.each([
    [-1n, 0n],
    [-(2n ** 63n), 2n ** 64n - 1n],
    [2n ** 63n - 1n, 2n ** 63n],
    [-(2n ** 53n) - 1n, 2n ** 53n + 1n],
    [-(2n ** 32n), 2n ** 32n - 1n],
  ])('QuickJS reads %s and %s', async (memoryLimit, cpuShares) => {
    const connection = await start().connect({ fresh: true });
    const error = (await connection.call
      .updateContainer({ resources: { memoryLimit, cpuShares } })
      .catch((e: unknown) => e)) as TskataError;
    expect(error).toMatchObject({ code: Code.Aborted, message: `${memoryLimit},${cpuShares}` });
  });

  it('text arrives as it was, surrogates without a partner replaced', async () => {
    const connection = await start().connect({ fresh: true });
    const hostname = `\ufeffplain é € 😀 ${String.fromCharCode(0xd800)} ${'x'.repeat(700)}`;
    const sysctls = new Map([
      ['__proto__', 'a'],
      ['kéy', 'välue'],
    ]);
    const error = (await connection.call
      .createSandbox({ hostname, wallClockNs: 2n ** 64n - 1n, sysctls })
      .catch((e: unknown) => e)) as TskataError;
    expect(error.message).toBe(`${hostname.replace('\ud800', '\ufffd')}|${2n ** 64n - 1n}|__proto__,a,kéy,välue`);
  });

  it('300 cuts at any byte are followed by a correct call', { timeout: 120_000 }, async () => {
    const random = seeded(77);
    const peer = start();
    const lifetime = (): number =>
      [random(60), random(1_100_000), 1_048_634 + random(400), random(2_000_000)][random(4)] as number;
    for (let cut = 0; cut < 300; cut++) {
      const broken = peer.connect({ timeoutMs: 20_000 }, lifetime(), random(2) === 0 ? lifetime() : undefined).then(
        async (connection) => {
          const stream = connection.openStream();
          void connection.call.dial({ stream: stream.id, network: 'udp', address: '5000000' }).catch(() => {});
          void (async () => {
            for await (const _ of stream);
          })().catch(() => {});
          for (;;) {
            const alive = await connection.call.statsContainer({ containerId: '5'.repeat(1 + random(18)) }).then(
              () => true,
              () => false,
            );
            if (!alive || random(20) === 0) break;
          }
          connection.close();
        },
        () => {},
      );
      await broken;
      const connection = await peer.connect();
      const value = 2n ** 63n + BigInt(cut);
      expect((await connection.call.statsContainer({ containerId: String(value) })).cpu?.usageUsec).toBe(value);
      connection.close();
    }
  });

  it('bulk arrives whole each way, while calls are answered and a stream that nobody reads stands still', {
    timeout: 120_000,
  }, async () => {
    const total = 256 * 1024 * 1024;
    const peer = start();
    const connection = await peer.connect({ fresh: true });
    const unread = await connection.dial({ network: 'udp', address: String(total) }, 5000);

    const ramp = Uint8Array.from({ length: 251 * 4177 }, (_value, index) => index % 251);
    const expected = createHash('sha256');
    for (let sent = 0; sent < total; sent += ramp.length)
      expected.update(ramp.subarray(0, Math.min(ramp.length, total - sent)));
    const wanted = expected.digest('hex');

    const latencies: number[] = [];
    let busy = true;
    const probing = (async () => {
      while (busy) {
        const startedMs = performance.now();
        await connection.call.statsContainer({ containerId: '1' });
        latencies.push(performance.now() - startedMs);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();

    const upMs = performance.now();
    const up = await connection.dial({ network: 'tcp', address: '' }, 5000);
    for (let sent = 0; sent < total; sent += ramp.length)
      await up.write(ramp.subarray(0, Math.min(ramp.length, total - sent)));
    up.end();
    let report = '';
    for await (const bytes of up) report += Buffer.from(bytes).toString();
    expect(report).toBe(String(total));
    const upRate = total / 1e3 / (performance.now() - upMs);

    const downMs = performance.now();
    const down = await connection.dial({ network: 'udp', address: String(total) }, 5000);
    down.end();
    const hash = createHash('sha256');
    for await (const bytes of down) hash.update(bytes);
    const downRate = total / 1e3 / (performance.now() - downMs);
    expect(hash.digest('hex')).toBe(wanted);

    busy = false;
    await probing;
    latencies.sort((left, right) => left - right);
    const p99 = latencies[Math.floor(latencies.length * 0.99)] ?? Number.NaN;
    const status = await readFile(`/proc/${peer.pid}/status`, 'utf8');
    const residentKib = Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]);
    console.log(
      `up ${upRate.toFixed(0)} MB/s, down ${downRate.toFixed(0)} MB/s, call p99 ${p99.toFixed(1)} ms, resident at most ${residentKib} KiB`,
    );
    // Bounds that only a byte-by-byte loop or a blocked call would miss, also on a busy machine.
    expect(Math.min(upRate, downRate)).toBeGreaterThan(20);
    expect(p99).toBeLessThan(300);
    expect(residentKib).toBeLessThan(8192);
    expect(connection.streamCount).toBe(1);
    unread.abort();
  });
});
