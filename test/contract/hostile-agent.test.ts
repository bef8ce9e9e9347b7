/**
 * A guest whose agent is the attacker. Whatever it sends, or does not send, the host's side spends bounded memory,
 * keeps its deadlines, and ends the connection with a reason.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it } from 'vitest';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { HelloResponse, StatsResponse } from '../../agent/protocol/generated/agent.ts';
import { Request, Response } from '../../agent/protocol/generated/ttrpc.ts';
import { PROTOCOL_VERSION, STREAM_WINDOW_BYTES } from '../../agent/protocol/limits.ts';
import { GuestLink } from '../../agent/protocol/link/guest.ts';
import { type MemoryEnd, memoryPair } from '../../agent/protocol/memory-channel.ts';
import { BYTES_PAYLOAD_BYTES, CONTROL_PAYLOAD_BYTES } from '../../agent/protocol/serve.ts';
import { decodeHeader, encodeHeader } from '../../agent/protocol/ttrpc/frame.ts';
import { type AgentConnection, connectAgent } from '../../runtime/agent-client/agent-connection.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { seeded } from '../helpers/agent-peer.ts';

const EMPTY = new Uint8Array(0);
/** What is held has settled when so many looks in a row show no less. */
const SETTLED_LOOKS = 5;
const LOOK_MS = 20;
const SETTLED_BYTES = 64 * 1024;

interface Villain {
  readonly connection: AgentConnection;
  readonly controlLink: GuestLink;
  readonly bytesLink: GuestLink;
  readonly control: MemoryEnd;
  readonly bytes: MemoryEnd;
  /** Ids of the calls that came and were not answered. */
  readonly asked: number[];
  answer(id: number, message: Uint8Array): void;
}

const open: AgentConnection[] = [];
afterEach(() => {
  for (const connection of open.splice(0)) connection.close();
});

/** An agent that is honest until the hello is over. */
async function villain(): Promise<Villain> {
  const [hostControl, control] = memoryPair();
  const [hostBytes, bytes] = memoryPair();
  const controlLink = new GuestLink(control, CONTROL_PAYLOAD_BYTES);
  const bytesLink = new GuestLink(bytes, BYTES_PAYLOAD_BYTES);
  const asked: number[] = [];
  const answer = (id: number, message: Uint8Array): void => {
    controlLink.send(encodeHeader(message.length, id, 2), message);
  };
  controlLink.onPayload = (payload) => {
    const header = decodeHeader(payload, 0);
    const request = Request.decode(payload.subarray(10));
    if (request.method === 'Hello')
      answer(header.streamId, Response.encode({ payload: HelloResponse.encode({ protocol: PROTOCOL_VERSION }) }));
    else asked.push(header.streamId);
  };
  const connection = await connectAgent(hostControl, hostBytes, nodeClock, { fresh: true });
  open.push(connection);
  return { connection, controlLink, bytesLink, control, bytes, asked, answer };
}

async function failure(promise: Promise<unknown>): Promise<TskataError> {
  const caught: unknown = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(caught).toBeInstanceOf(TskataError);
  return caught as TskataError;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Buffers are given back by another thread a while after the collection: what is held is what it comes down to. */
async function heldBytes(): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let unchanged = 0; unchanged < SETTLED_LOOKS; unchanged += 1) {
    collect();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    const held = heapUsed + arrayBuffers;
    if (held < least - SETTLED_BYTES) unchanged = 0;
    least = Math.min(least, held);
    await sleep(LOOK_MS);
  }
  return least;
}

/** What this process holds more after `run` than before, garbage not counted, in MiB. */
async function growthMib(run: () => Promise<void>): Promise<number> {
  const before = await heldBytes();
  await run();
  return ((await heldBytes()) - before) / 1024 ** 2;
}

describe('an agent that', () => {
  it('is silent costs a deadline', async () => {
    const { connection } = await villain();
    expect((await failure(connection.call.guestInfo({}, { timeoutMs: 30 }))).code).toBe(Code.DeadlineExceeded);
  });

  it('floods the host before its answer to the reset is given up', async () => {
    const [hostControl, control] = memoryPair();
    const [hostBytes] = memoryPair();
    const junk = new Uint8Array(1024 * 1024).fill(3);
    const grown = await growthMib(async () => {
      const connecting = failure(connectAgent(hostControl, hostBytes, nodeClock, { timeoutMs: 20_000 }));
      let ended = false;
      control.onEnd = () => {
        ended = true;
      };
      for (let sent = 0; sent < 100 && !ended; sent++) {
        control.write(junk.slice());
        while (control.pendingBytes > 0 && !ended) await turn();
      }
      expect((await connecting).message).toMatch(/no answer to the reset/);
    });
    expect(grown).toBeLessThan(8);
  });

  it.each([
    ['a record that is too large', [1, 0xff, 0xff, 0xff]],
    ['a frame whose length is wrong', undefined],
    ['zero bytes', [0, 0, 0, 0]],
    ['a record of another epoch', [1, 1, 0, 0, 9, 1, 1, 1, 1]],
  ])('sends %s loses the connection', async (_name, bytes) => {
    const { connection, control, controlLink } = await villain();
    const pending = failure(connection.call.guestInfo({}));
    if (bytes) control.write(Uint8Array.from(bytes));
    else controlLink.send(encodeHeader(500, 3, 2), new Uint8Array(3));
    expect((await pending).code).toBe(Code.DataLoss);
    expect((await connection.closed).code).toBe(Code.DataLoss);
  });

  it('answers calls that nobody made loses the connection', async () => {
    const { connection, answer } = await villain();
    answer(999_999, Response.encode({}));
    expect((await connection.closed).code).toBe(Code.DataLoss);
  });

  it('holds back half a frame costs the bytes that it sent', async () => {
    const { connection, control } = await villain();
    const grown = await growthMib(async () => {
      control.write(Uint8Array.of(1, 0, 0, 15, 1, 2, 3));
      expect((await failure(connection.call.guestInfo({}, { timeoutMs: 50 }))).code).toBe(Code.DeadlineExceeded);
    });
    expect(grown).toBeLessThan(2);
  });

  it('answers with names of the language only fills a map', async () => {
    const { connection, asked, answer } = await villain();
    const pending = connection.call.statsContainer({});
    await turn();
    const stat = new Map([
      ['__proto__', 1n],
      ['constructor', 2n],
      ['toString', 3n],
    ]);
    answer(asked[0] ?? 0, Response.encode({ payload: StatsResponse.encode({ memory: { stat } }) }));
    expect((await pending).memory?.stat).toEqual(stat);
    expect(Object.getPrototypeOf({})).toBe(Object.prototype);
  });

  it('answers with a million empty elements fails that call only', async () => {
    const { connection, asked, answer } = await villain();
    const pending = failure(connection.call.statsContainer({}));
    await turn();
    const payload = new Uint8Array(1_000_000);
    for (let at = 0; at < payload.length; at += 2) payload[at] = 0x32;
    let error: TskataError | undefined;
    const grown = await growthMib(async () => {
      answer(asked[0] ?? 0, Response.encode({ payload }));
      error = await pending;
    });
    expect(error?.message).toMatch(/elements/);
    expect(grown).toBeLessThan(8);
    const next = connection.call.guestInfo({});
    await turn();
    answer(asked[1] ?? 0, Response.encode({}));
    expect((await next).memoryTotal).toBe(0n);
  });

  it('answers with random bytes fails calls, and nothing else', async () => {
    const { connection, asked, answer } = await villain();
    const below = seeded(1);
    const random = (): number => below(256);
    for (let count = 0; count < 300; count++) {
      const pending = connection.call
        .statsContainer({})
        .catch((error: unknown) => expect(error).toBeInstanceOf(TskataError));
      await turn();
      answer(asked.pop() ?? 0, Uint8Array.from({ length: random() }, random));
      await pending;
    }
    expect(connection.streamCount).toBe(0);
  });

  it('does not read makes calls fail, not memory grow', async () => {
    const { connection, control } = await villain();
    control.setReading(false);
    const grown = await growthMib(async () => {
      for (let count = 0; count < 500; count++) {
        await failure(connection.call.reseed({ entropy: new Uint8Array(200_000) }, { timeoutMs: 1 }));
      }
    });
    // Of the 95 that were sent. 4 are held by what waits for the guest.
    expect(grown).toBeLessThan(8);
  });

  it('sends single bytes that nobody reads fills one window, then loses the connection', async () => {
    const { connection, bytesLink, bytes } = await villain();
    const stream = connection.openStream();
    const frame = Uint8Array.of(stream.id, 0, 0, 0, 1);
    const grown = await growthMib(async () => {
      for (let sent = 0; sent < STREAM_WINDOW_BYTES; sent++) {
        bytesLink.send(frame, Uint8Array.of(sent & 0xff));
        if (sent % 5000 === 0) while (bytes.pendingBytes > 0) await turn();
      }
      while (bytes.pendingBytes > 0) await turn();
    });
    expect(grown).toBeLessThan(8);
    expect(connection.streamCount).toBe(1);
    bytesLink.send(frame, Uint8Array.of(0));
    expect((await connection.closed).message).toMatch(/were granted/);
  });

  it('sends to streams that do not exist loses the connection', async () => {
    const { connection, bytesLink } = await villain();
    bytesLink.send(Uint8Array.of(77, 0, 0, 0, 1), Uint8Array.of(1));
    expect((await connection.closed).code).toBe(Code.DataLoss);
  });

  it('floods a stream that was closed loses the connection', async () => {
    const { connection, bytesLink } = await villain();
    const stream = connection.openStream();
    stream.abort();
    for (let count = 0; count < 5000; count++)
      bytesLink.send(Uint8Array.of(stream.id, 0, 0, 0, 4), Uint8Array.of(1, 0, 0, 0));
    expect((await connection.closed).message).toMatch(/closed/);
  });

  it('ends one port loses the other', async () => {
    const { connection, bytes, controlLink } = await villain();
    bytes.close();
    expect((await connection.closed).code).toBe(Code.Unavailable);
    expect(controlLink.send(EMPTY, EMPTY)).toBe(true);
    expect((await failure(connection.call.guestInfo({}))).code).toBe(Code.Unavailable);
  });
});
