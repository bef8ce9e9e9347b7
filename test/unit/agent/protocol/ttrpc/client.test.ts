/** ttrpc: a client with a peer that breaks the rules. */
import { describe, expect, it } from 'vitest';
import { Code, type TskataError } from '../../../../../agent/protocol/errors.ts';
import { Response } from '../../../../../agent/protocol/generated/ttrpc.ts';
import { MAX_ABANDONED_CALLS, MAX_CALLS_IN_FLIGHT, MAX_QUEUED_BYTES } from '../../../../../agent/protocol/limits.ts';
import { encodeHeader } from '../../../../../agent/protocol/ttrpc/frame.ts';

import { MAX, playedServer, refusal, turn } from '../../../../helpers/ttrpc-peers.ts';

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
