/** ttrpc: golden bytes of containerd's, and what each side does with a peer that breaks the rules. */
import { describe, expect, it } from 'vitest';
import type { Clock } from '../../../../agent/protocol/channel.ts';
import { Code, TskataError } from '../../../../agent/protocol/errors.ts';
import { Agent } from '../../../../agent/protocol/generated/agent.ts';
import { Request, Response } from '../../../../agent/protocol/generated/ttrpc.ts';
import { MAX_ABANDONED_CALLS, MAX_CALLS_IN_FLIGHT, MAX_QUEUED_BYTES } from '../../../../agent/protocol/limits.ts';
import { type MemoryEnd, type MemoryOptions, memoryPair } from '../../../../agent/protocol/memory-channel.ts';
import { bind, type Handlers } from '../../../../agent/protocol/service.ts';
import { createClient, TtrpcClient } from '../../../../agent/protocol/ttrpc/client.ts';
import { decodeHeader, encodeHeader } from '../../../../agent/protocol/ttrpc/frame.ts';
import { ChannelPipe } from '../../../../agent/protocol/ttrpc/pipe.ts';
import { TtrpcServer } from '../../../../agent/protocol/ttrpc/server.ts';

const MAX = 4096;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A clock that a test moves. */
class HandClock implements Clock {
  private time = 0;
  private readonly timers = new Map<number, { readonly atMs: number; readonly fire: () => void }>();
  private next = 0;
  now(): number {
    return this.time;
  }
  timer(delayMs: number, fire: () => void): () => void {
    const id = this.next++;
    this.timers.set(id, { atMs: this.time + delayMs, fire });
    return () => this.timers.delete(id);
  }
  get count(): number {
    return this.timers.size;
  }
  pass(durationMs: number): void {
    this.time += durationMs;
    for (const [id, timer] of [...this.timers]) {
      if (timer.atMs > this.time || !this.timers.delete(id)) continue;
      timer.fire();
    }
  }
}

function connected(handlers: Partial<Handlers<typeof Agent>>, options: MemoryOptions = {}) {
  const clock = new HandClock();
  const [near, far] = memoryPair(options);
  const client = new TtrpcClient(new ChannelPipe(near, MAX), clock);
  const calls: unknown[][] = [];
  const server = new TtrpcServer(new ChannelPipe(far, MAX), [bind(Agent, handlers)], clock, {
    onCall: (...call) => calls.push(call),
  });
  return { clock, client, server, calls, near, far, call: createClient(Agent, client) };
}

/** A server that a test plays by hand: what came, and a way to answer. */
function playedServer(options: MemoryOptions = {}) {
  const clock = new HandClock();
  const [near, far] = memoryPair(options);
  const client = new TtrpcClient(new ChannelPipe(near, MAX), clock);
  const ends: TskataError[] = [];
  client.onEnd = (error) => ends.push(error);
  const answer = (id: number, message: Uint8Array, type = 2): void => {
    far.write(encodeHeader(message.length, id, type));
    far.write(message);
  };
  return { clock, client, ends, far, answer, call: createClient(Agent, client) };
}

/** A client that a test plays by hand. */
function playedClient(handlers: Partial<Handlers<typeof Agent>>, maxInFlight?: number) {
  const clock = new HandClock();
  const [near, far] = memoryPair();
  const server = new TtrpcServer(
    new ChannelPipe(far, MAX),
    [bind(Agent, handlers)],
    clock,
    maxInFlight === undefined ? {} : { maxInFlight },
  );
  const answers: { readonly id: number; readonly code: number; readonly message: string }[] = [];
  const pipe = new ChannelPipe(near, MAX);
  pipe.onFrame = (header, message) => {
    const { status } = Response.decode(message);
    answers.push({ id: header.streamId, code: status?.code ?? 0, message: status?.message ?? '' });
  };
  const send = (id: number, method: string, service = 'tskata.agent.v1.Agent', type = 1): void => {
    const message = Request.encode({ service, method });
    near.write(encodeHeader(message.length, id, type));
    near.write(message);
  };
  return { clock, near, server, answers, send };
}

async function refusal(promise: Promise<unknown>): Promise<TskataError> {
  const error = await promise.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(TskataError);
  return error as TskataError;
}

describe('the bytes', () => {
  it('of a request are those that ttrpc prescribes', async () => {
    const written: number[] = [];
    const [near, far] = memoryPair();
    far.onData = (bytes) => written.push(...bytes);
    const client = createClient(Agent, new TtrpcClient(new ChannelPipe(near, MAX), new HandClock()));
    const metadata = new Map([['containerd-namespace-ttrpc', 'k8s.io']]);
    void client.hello({ protocol: 1000 }, { timeoutMs: 2, metadata }).catch(() => {});
    await turn();
    const text = (value: string): string => Buffer.from(value).toString('hex');
    const body =
      `0a15${text('tskata.agent.v1.Agent')}1205${text('Hello')}1a0308e807` + // service, method, payload
      '2080897a' + // 2,000,000 ns
      `2a240a1a${text('containerd-namespace-ttrpc')}1206${text('k8s.io')}`;
    expect(hex(Uint8Array.from(written))).toBe(`${(body.length / 2).toString(16).padStart(8, '0')}000000010100${body}`);
  });

  it('of a header read back', () => {
    expect(decodeHeader(encodeHeader(0x01020304, 0xfffffffd, 2), 0)).toEqual({
      length: 0x01020304,
      streamId: 0xfffffffd,
      type: 2,
      flags: 0,
    });
  });
});

describe('a call', () => {
  it.each([1, 3, 10, 11, 5000])('is answered when bytes come in pieces of %i', async (size) => {
    const { call } = connected(
      { reseed: () => ({}), hello: (request) => ({ protocol: request.protocol + 1 }) },
      { fragment: () => size },
    );
    await call.reseed({ entropy: new Uint8Array(4000) });
    expect((await call.hello({ protocol: 41 })).protocol).toBe(42);
  });

  it('overtakes others, by the hundred', async () => {
    const waiting: (() => void)[] = [];
    const { call } = connected({
      waitProcess: (request) =>
        new Promise((resolve) => waiting.push(() => resolve({ exitStatus: Number(request.execId) }))),
    });
    const results = Array.from({ length: 300 }, (_value, index) => call.waitProcess({ execId: String(index) }));
    await turn();
    await turn();
    for (const finish of waiting.reverse()) finish();
    expect((await Promise.all(results)).map((result) => result.exitStatus)).toEqual(
      Array.from({ length: 300 }, (_v, index) => index),
    );
  });

  it('carries what a handler throws', async () => {
    const throws: unknown[] = [
      new TskataError(Code.NotFound, 'no such thing'),
      Object.assign(new Error('open x'), { code: 'ENOENT' }),
      'odd',
    ];
    const { call } = connected({
      hello: () => {
        throw throws.shift();
      },
    });
    expect(await refusal(call.hello({}))).toMatchObject({ code: Code.NotFound, message: 'no such thing' });
    expect(await refusal(call.hello({}))).toMatchObject({ code: Code.NotFound, message: 'open x' });
    expect(await refusal(call.hello({}))).toMatchObject({ code: Code.Unknown, message: 'odd' });
  });

  it('ends at its deadline on both sides', async () => {
    let aborted = 0;
    const { call, clock, calls, server } = connected({
      waitProcess: (_request, { signal }) =>
        new Promise((resolve) =>
          signal.addEventListener('abort', () => {
            aborted++;
            resolve({});
          }),
        ),
    });
    const result = refusal(call.waitProcess({}, { timeoutMs: 50 }));
    await turn();
    clock.pass(49);
    expect(aborted).toBe(0);
    clock.pass(1);
    expect((await result).code).toBe(Code.DeadlineExceeded);
    await turn();
    expect(aborted).toBe(1);
    expect(calls).toEqual([['WaitProcess', 50, Code.DeadlineExceeded, expect.any(String)]]);
    expect(server.inFlight).toBe(0);
    expect(clock.count).toBe(0);
  });

  it('is given up by its caller, before or during', async () => {
    const { call, clock } = connected({ waitProcess: () => new Promise(() => {}), hello: () => ({ protocol: 1 }) });
    const controller = new AbortController();
    const result = refusal(call.waitProcess({}, { signal: controller.signal, timeoutMs: 0 }));
    await turn();
    controller.abort();
    expect((await result).code).toBe(Code.Canceled);
    expect((await refusal(call.hello({}, { signal: controller.signal }))).code).toBe(Code.Canceled);
    expect((await call.hello({})).protocol).toBe(1);
    expect(clock.count).toBe(0);
  });

  it('has no deadline when its timeout is 0 or beyond what a timer can hold', async () => {
    const { call, clock } = connected({ waitProcess: () => new Promise(() => {}) });
    void call.waitProcess({}, { timeoutMs: 0 }).catch(() => {});
    void call.waitProcess({}, { timeoutMs: Number.POSITIVE_INFINITY }).catch(() => {});
    await turn();
    expect(clock.count).toBe(0);
  });

  it('that is too large, either way, is refused and costs no other', async () => {
    const { call } = connected({ hello: () => ({ agentVersion: 'x'.repeat(MAX) }), reseed: () => ({}) });
    expect((await refusal(call.reseed({ entropy: new Uint8Array(MAX) }))).code).toBe(Code.ResourceExhausted);
    expect((await refusal(call.hello({}))).code).toBe(Code.ResourceExhausted);
    expect(await call.reseed({})).toEqual({});
  });

  it('to nobody is unimplemented', async () => {
    const { call, client } = connected({});
    expect((await refusal(call.hello({}))).code).toBe(Code.Unimplemented);
    expect((await refusal(client.call('no.Service', Agent.methods.hello, {} as never))).code).toBe(Code.Unimplemented);
  });

  it('fails when the connection ends, and so do all after it', async () => {
    const { call, far } = connected({ waitProcess: () => new Promise(() => {}) });
    const result = refusal(call.waitProcess({}));
    await turn();
    far.close();
    expect((await result).code).toBe(Code.Unavailable);
    expect((await refusal(call.hello({}))).code).toBe(Code.Unavailable);
  });
});

describe('a client', () => {
  it('shortens and cleans what the peer says', async () => {
    const { call, answer } = playedServer();
    const result = refusal(call.hello({}));
    await turn();
    answer(1, Response.encode({ status: { code: 99, message: `\u001b[2J${'x'.repeat(3500)}` } }));
    const error = await result;
    expect(error.code).toBe(Code.Unknown);
    expect(error.message.startsWith('?[2Jxxx')).toBe(true);
    expect(error.message.length).toBeLessThan(2100);
  });

  it.each([
    ['an answer to a call that was never made', 3, 2],
    ['an answer with an even id', 2, 2],
    ['a request', 1, 1],
    ['a frame of no type', 1, 9],
  ])('gives up at %s', async (_name, id, type) => {
    const { call, answer, ends } = playedServer();
    const result = refusal(call.hello({}));
    await turn();
    answer(id, Response.encode({}), type);
    expect((await result).code).toBe(Code.DataLoss);
    expect(ends.length).toBe(1);
  });

  it('takes one late answer for each call it gave up, and no more', async () => {
    const { call, clock, answer, ends } = playedServer();
    const result = refusal(call.hello({}, { timeoutMs: 5 }));
    await turn();
    clock.pass(5);
    await result;
    answer(1, Response.encode({}));
    await turn();
    expect(ends.length).toBe(0);
    answer(1, Response.encode({}));
    await turn();
    expect(ends.length).toBe(1);
  });

  it('fails one call for an answer that is no message, and for one that is too large', async () => {
    const { call, answer, far } = playedServer();
    const results = [refusal(call.hello({})), refusal(call.hello({})), call.hello({})] as const;
    await turn();
    answer(1, Uint8Array.of(0xff));
    far.write(encodeHeader(MAX + 1, 3, 2));
    far.write(new Uint8Array(MAX + 1));
    answer(5, Response.encode({}));
    expect((await results[0]).code).toBe(Code.DataLoss);
    expect((await results[1]).code).toBe(Code.ResourceExhausted);
    expect((await results[2]).protocol).toBe(0);
  });

  it('bounds calls under way, calls nobody answers, and bytes nobody reads', async () => {
    const silent = playedServer();
    const first = Array.from({ length: MAX_CALLS_IN_FLIGHT }, () => refusal(silent.call.hello({}, { timeoutMs: 10 })));
    expect((await refusal(silent.call.hello({}))).code).toBe(Code.ResourceExhausted);
    silent.clock.pass(10);
    await Promise.all(first);
    for (let round = 1; round < MAX_ABANDONED_CALLS / MAX_CALLS_IN_FLIGHT + 1; round++) {
      const more = Array.from({ length: MAX_CALLS_IN_FLIGHT }, () => refusal(silent.call.hello({}, { timeoutMs: 10 })));
      silent.clock.pass(10);
      await Promise.all(more);
    }
    expect(silent.ends.map((error) => error.code)).toEqual([Code.DataLoss]);

    const deaf = playedServer();
    deaf.far.setReading(false);
    let sent = 0;
    let error: TskataError | undefined;
    while (!error && sent < 10_000) {
      sent++;
      const result = refusal(deaf.call.reseed({ entropy: new Uint8Array(MAX - 100) }, { timeoutMs: 1 }));
      deaf.clock.pass(1);
      const refused = await result;
      if (refused.code === Code.Unavailable) error = refused;
    }
    expect(error?.message).toMatch(/does not read/);
    expect(sent * MAX).toBeLessThan(MAX_QUEUED_BYTES + 2 * 1024 * 1024);
  });

  it('is told when a frame is cut by the end', async () => {
    const { call, far } = playedServer();
    const result = refusal(call.hello({}));
    await turn();
    far.write(encodeHeader(10, 1, 2));
    far.close();
    expect((await result).message).toMatch(/inside/);
  });
});

describe('a server', () => {
  const quick = { hello: () => ({ protocol: 1 }) };

  it.each([
    ['an even id', [2], [Code.InvalidArgument]],
    ['an id that does not rise', [5, 5, 3], [Code.Ok, Code.InvalidArgument, Code.InvalidArgument]],
    ['ids that leave out some', [1, 9, 11], [Code.Ok, Code.Ok, Code.Ok]],
  ])('answers %s', async (_name, ids, codes) => {
    const { send, answers } = playedClient(quick);
    for (const id of ids) send(id, 'Hello');
    await turn();
    await turn();
    expect(answers.map((answer) => answer.code).sort()).toEqual([...codes].sort());
  });

  it('refuses calls beyond its limit, and takes more when some have ended', async () => {
    const finish: (() => void)[] = [];
    const { send, answers, server } = playedClient(
      { hello: () => new Promise((resolve) => finish.push(() => resolve({}))) },
      2,
    );
    for (const id of [1, 3, 5]) send(id, 'Hello');
    await turn();
    expect(answers).toEqual([{ id: 5, code: Code.ResourceExhausted, message: expect.any(String) }]);
    expect(server.inFlight).toBe(2);
    for (const run of finish) run();
    await turn();
    send(7, 'Hello');
    await turn();
    expect(server.inFlight).toBe(1);
  });

  it('aborts the calls of a client that is gone', async () => {
    const reasons: unknown[] = [];
    const { near, send, server } = playedClient({
      hello: (_request, { signal }) =>
        new Promise((resolve) =>
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason);
            resolve({});
          }),
        ),
    });
    let ended = 0;
    server.onEnd = () => ended++;
    send(1, 'Hello');
    await turn();
    near.close();
    await turn();
    expect(reasons).toEqual([expect.objectContaining({ code: Code.Canceled })]);
    expect(ended).toBe(1);
    expect(server.inFlight).toBe(0);
  });

  it('does not count calls of an older connection against its limit', async () => {
    const { send, server, answers } = playedClient({ hello: () => new Promise(() => {}) }, 2);
    for (let round = 0; round < 5; round++) {
      send(1, 'Hello');
      send(3, 'Hello');
      await turn();
      expect([server.inFlight, answers.length]).toEqual([2, 0]);
      server.reset('test');
    }
  });

  it('refuses streaming calls, skips their data, and ends at a flood of it', async () => {
    const { near, send, answers, server } = playedClient(quick);
    let ended = 0;
    server.onEnd = () => ended++;
    const message = Request.encode({ service: Agent.typeName, method: 'Hello' });
    const header = encodeHeader(message.length, 1, 1);
    header[9] = 2;
    near.write(header);
    near.write(message);
    send(1, 'x', 'y', 3);
    send(3, 'Hello');
    await turn();
    expect(answers.map((answer) => [answer.id, answer.code])).toEqual([
      [1, Code.Unimplemented],
      [3, Code.Ok],
    ]);
    for (let count = 0; count < 1100; count++) send(1, 'x', 'y', 3);
    for (let count = 0; count < 10; count++) await turn();
    expect(ended).toBe(1);
  });

  it('answers a request that is too large or no message, and goes on', async () => {
    const { near, send, answers } = playedClient(quick);
    near.write(encodeHeader(2 ** 20, 1, 1));
    near.write(new Uint8Array(2 ** 20));
    near.write(encodeHeader(1, 3, 1));
    near.write(Uint8Array.of(0xff));
    near.write(encodeHeader(0, 5, 1));
    send(7, 'Hello');
    for (let count = 0; count < 30; count++) await turn();
    expect(answers.map((answer) => [answer.id, answer.code])).toEqual([
      [1, Code.ResourceExhausted],
      [3, Code.InvalidArgument],
      [5, Code.Unimplemented],
      [7, Code.Ok],
    ]);
  });

  it('stops reading while its answers are not read', async () => {
    const { near, send, answers, server } = playedClient({ hello: () => ({ agentVersion: 'x'.repeat(3000) }) });
    near.setReading(false);
    for (let index = 0; index < 5000; index++) send(2 * index + 1, 'Hello');
    for (let count = 0; count < 400; count++) await turn();
    const far = (near as MemoryEnd).peer as MemoryEnd;
    expect(far.pendingBytes).toBeLessThan(1024 * 1024);
    expect(server.inFlight).toBe(0);
    near.setReading(true);
    for (let count = 0; count < 20_000 && answers.length < 5000; count++) await turn();
    expect(answers.length).toBe(5000);
  });
});
