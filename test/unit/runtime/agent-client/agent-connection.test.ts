/** The shim's connection to an agent that behaves: hello, calls, streams, dial, endings. */
import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Code, TskataError } from '../../../../agent/protocol/errors.ts';
import { memoryPair } from '../../../../agent/protocol/memory-channel.ts';
import type { MuxStream } from '../../../../agent/protocol/mux/stream.ts';
import type { AgentServer } from '../../../../agent/protocol/serve.ts';
import { connectAgent } from '../../../../runtime/agent-client/agent-connection.ts';
import type { ByteStream } from '../../../../runtime/agent-client/byte-stream.ts';
import { nodeClock } from '../../../../runtime/host/clock.ts';
import { agentPeer, seeded } from '../../../helpers/agent-peer.ts';

/** Sends everything back, as a relay does: it takes more only as fast as it gives. */
function echo(stream: MuxStream): void {
  const pending: Uint8Array[] = [];
  let ended = false;
  let waiting = false;
  const next = (): void => {
    const first = pending[0];
    if (!first) {
      if (ended) stream.end();
      return;
    }
    if (waiting) return;
    waiting = true;
    stream.whenWritable((max) => {
      waiting = false;
      const piece = first.subarray(0, max);
      if (piece.length === first.length) pending.shift();
      else pending[0] = first.subarray(max);
      stream.send(piece);
      stream.consumed(piece.length);
      next();
    });
  };
  stream.onData = (bytes) => {
    pending.push(bytes.slice());
    next();
  };
  stream.onEnd = () => {
    ended = true;
    next();
  };
}

const echoAgent = (agent: () => AgentServer) => ({
  dial: (request: { readonly stream: number; readonly network: string }) => {
    if (request.network === 'unix') throw new TskataError(Code.NotFound, 'nobody listens');
    echo(agent().mux.accept(request.stream));
    return {};
  },
});

async function readAll(stream: ByteStream): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

async function failure(promise: Promise<unknown>): Promise<TskataError> {
  const caught: unknown = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(caught).toBeInstanceOf(TskataError);
  return caught as TskataError;
}

describe('connecting', () => {
  it('says hello', async () => {
    const connection = await agentPeer(() => ({})).connect();
    expect(connection.hello.agentVersion).toBe('test');
  });

  it('refuses an agent of another major version', async () => {
    const peer = agentPeer(() => ({ hello: () => ({ protocol: 2001 }) }));
    const error = await failure(peer.connect());
    expect(error.code).toBe(Code.FailedPrecondition);
    expect(error.message).toMatch(/version 2/);
  });

  it('gives up at its deadline when nobody answers, and closes both ports', async () => {
    const [control, farControl] = memoryPair();
    const [bytes, farBytes] = memoryPair();
    let ends = 0;
    farControl.onEnd = () => ends++;
    farBytes.onEnd = () => ends++;
    const error = await failure(connectAgent(control, bytes, nodeClock, { timeoutMs: 50 }));
    expect(error.code).toBe(Code.DeadlineExceeded);
    await new Promise((resolve) => setImmediate(resolve));
    expect(ends).toBe(2);
  });

  it('gives up at once when a port ends', async () => {
    const [control] = memoryPair();
    const [bytes, farBytes] = memoryPair();
    farBytes.close();
    expect((await failure(connectAgent(control, bytes, nodeClock))).code).toBe(Code.Unavailable);
  });

  it('tells when the connection is over, and fails what is under way', async () => {
    const peer = agentPeer((agent) => ({ ...echoAgent(agent), waitProcess: () => new Promise(() => {}) }));
    const connection = await peer.connect();
    const stream = await connection.dial({ network: 'tcp', address: '' }, 1000);
    const results = [failure(connection.call.waitProcess({})), failure(readAll(stream))] as const;
    peer.bytes.cut(0, 0, true);
    expect((await connection.closed).code).toBe(Code.Unavailable);
    for (const result of results) expect((await result).code).toBe(Code.Unavailable);
    expect(() => connection.openStream().end()).not.toThrow();
  });

  it('can be closed', async () => {
    const connection = await agentPeer(() => ({})).connect();
    connection.close();
    connection.close();
    expect((await connection.closed).message).toMatch(/was closed/);
    expect((await failure(connection.call.guestInfo({}))).code).toBe(Code.Unavailable);
  });
});

describe('a stream', () => {
  it('carries bytes both ways, whole', async () => {
    const random = seeded(7);
    const fragment = (): number => 1 + random(70_000);
    const peer = agentPeer(echoAgent, { bytes: { fragment } });
    const connection = await peer.connect();
    const stream = await connection.dial({ network: 'tcp', address: '' }, 1000);
    const sent = randomBytes(3_000_000);
    const received = readAll(stream);
    for (let at = 0; at < sent.length; at += 333_333) void stream.write(sent.subarray(at, at + 333_333));
    stream.end();
    const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
    expect(digest(await received)).toBe(digest(sent));
    expect([connection.streamCount, peer.agent.mux.streamCount]).toEqual([0, 0]);
  });

  it('holds back its writer, not a call', async () => {
    const peer = agentPeer((agent) => ({
      dial: (request) => {
        agent().mux.accept(request.stream);
        return {};
      },
      guestInfo: () => ({ uptimeNs: 5n }),
    }));
    const connection = await peer.connect();
    const stream = await connection.dial({ network: 'tcp', address: '' }, 1000);
    let written = 0;
    const writing = failure(
      (async () => {
        for (;;) {
          await stream.write(new Uint8Array(10_000));
          written += 10_000;
        }
      })(),
    );
    expect((await connection.call.guestInfo({})).uptimeNs).toBe(5n);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(written).toBeLessThanOrEqual(256 * 1024);
    expect(written).toBeGreaterThan(240 * 1024);
    stream.abort();
    expect((await writing).code).toBe(Code.Canceled);
  });

  it('does not outlive a dial that failed', async () => {
    const peer = agentPeer(echoAgent);
    const connection = await peer.connect();
    expect((await failure(connection.dial({ network: 'unix', address: '/x' }, 1000))).code).toBe(Code.NotFound);
    expect(connection.streamCount).toBe(0);
  });

  it('is aborted by leaving the loop', async () => {
    const peer = agentPeer(echoAgent);
    const connection = await peer.connect();
    const stream = await connection.dial({ network: 'tcp', address: '' }, 1000);
    await stream.write(new Uint8Array(10));
    for await (const bytes of stream) {
      expect(bytes.length).toBe(10);
      break;
    }
    await connection.call.hello({});
    expect([connection.streamCount, peer.agent.mux.streamCount]).toEqual([0, 0]);
    expect((await failure(stream.write(new Uint8Array(1)))).code).toBe(Code.FailedPrecondition);
  });

  it('from the guest alone is closed by the guest’s end', async () => {
    const peer = agentPeer((agent) => ({
      execProcess: (request) => {
        const stream = agent().mux.accept(request.streams?.stdout ?? 0);
        stream.whenWritable(() => {
          stream.send(Buffer.from('out'));
          stream.end();
        });
        return {};
      },
    }));
    const connection = await peer.connect();
    const stream = connection.openStream('from-guest');
    await connection.call.execProcess({ streams: { stdout: stream.id } });
    expect((await readAll(stream)).toString()).toBe('out');
    expect([connection.streamCount, peer.agent.mux.streamCount]).toEqual([0, 0]);
  });

  it('of datagrams keeps each whole, and apart from the next', async () => {
    const sizes: number[] = [];
    const peer = agentPeer((agent) => ({
      dial: (request) => {
        const stream = agent().mux.accept(request.stream);
        stream.onData = (bytes) => {
          sizes.push(bytes.length);
          // Credit comes back in steps that fit no datagram.
          stream.consumed(bytes.length);
        };
        stream.whenWritable(() => {
          stream.send(Buffer.from('one'));
          stream.send(Buffer.from('two'));
        });
        return {};
      },
    }));
    const connection = await peer.connect();
    const stream = await connection.dial({ network: 'udp', address: '' }, 1000);
    await connection.call.hello({});
    const reader = stream[Symbol.asyncIterator]();
    for (const text of ['one', 'two']) expect(Buffer.from((await reader.next()).value ?? []).toString()).toBe(text);
    for (let count = 0; count < 20; count++) await stream.write(new Uint8Array(60_000));
    await connection.call.hello({});
    expect(sizes).toEqual(Array(20).fill(60_000));
    expect((await failure(stream.write(new Uint8Array(1024 * 1024)))).code).toBe(Code.InvalidArgument);
  });

  it('has one reader at a time', async () => {
    const connection = await agentPeer(echoAgent).connect();
    const stream = await connection.dial({ network: 'tcp', address: '' }, 1000);
    const reader = stream[Symbol.asyncIterator]();
    const first = reader.next();
    expect((await failure(reader.next())).code).toBe(Code.FailedPrecondition);
    await stream.write(Buffer.from('x'));
    expect((await first).done).toBe(false);
  });
});

describe('throughput on this machine', () => {
  it('is far above what the ports must carry', async () => {
    const peer = agentPeer((agent) => ({
      dial: (request) => {
        const stream = agent().mux.accept(request.stream);
        let received = 0;
        stream.onData = (bytes) => {
          received += bytes.length;
          stream.consumed(bytes.length);
        };
        stream.onEnd = () => {
          stream.whenWritable(() => {
            stream.send(Buffer.from(String(received)));
            stream.end();
          });
        };
        return {};
      },
    }));
    const connection = await peer.connect({ fresh: true });
    const stream = await connection.dial({ network: 'tcp', address: '' }, 1000);
    const piece = new Uint8Array(1024 * 1024);
    const before = process.cpuUsage();
    for (let index = 0; index < 128; index++) await stream.write(piece);
    stream.end();
    expect((await readAll(stream)).toString()).toBe(String(128 * piece.length));
    // 1,000 MB in a second of CPU time are usual; the bound only finds a byte-by-byte loop.
    const { user, system } = process.cpuUsage(before);
    expect(128 / ((user + system) / 1e6)).toBeGreaterThan(60);
  });
});
