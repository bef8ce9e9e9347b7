/** ttrpc: golden bytes of containerd's. */
import { describe, expect, it } from 'vitest';
import { Agent } from '../../../../../agent/protocol/generated/agent.ts';
import { memoryPair } from '../../../../../agent/protocol/memory-channel.ts';
import { createClient, TtrpcClient } from '../../../../../agent/protocol/ttrpc/client.ts';
import { decodeHeader, encodeHeader } from '../../../../../agent/protocol/ttrpc/frame.ts';
import { ChannelPipe } from '../../../../../agent/protocol/ttrpc/pipe.ts';

import { HandClock, hex, MAX, turn } from '../../../../helpers/ttrpc-peers.ts';

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
