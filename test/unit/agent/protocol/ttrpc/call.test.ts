/** ttrpc: what a call costs and how it ends. */
import { describe, expect, it } from 'vitest';
import { Code, TskataError } from '../../../../../agent/protocol/errors.ts';
import { Agent } from '../../../../../agent/protocol/generated/agent.ts';

import { connected, MAX, refusal, turn } from '../../../../helpers/ttrpc-peers.ts';

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
