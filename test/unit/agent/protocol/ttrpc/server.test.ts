/** ttrpc: a server with a peer that breaks the rules. */
import { describe, expect, it } from 'vitest';
import { Code } from '../../../../../agent/protocol/errors.ts';
import { Agent } from '../../../../../agent/protocol/generated/agent.ts';
import { Request } from '../../../../../agent/protocol/generated/ttrpc.ts';
import type { MemoryEnd } from '../../../../../agent/protocol/memory-channel.ts';
import { encodeHeader } from '../../../../../agent/protocol/ttrpc/frame.ts';

import { playedClient, turn } from '../../../../helpers/ttrpc-peers.ts';

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
