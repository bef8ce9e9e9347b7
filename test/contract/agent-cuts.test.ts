/**
 * 1,000 cuts of the connection to the agent, at bytes that a seed chooses: in frames, headers and resets, in both
 * directions and on both ports. Each is followed by a call that is answered correctly, and no half frame ever counts.
 */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { AgentConnection } from '../../runtime/agent-client/agent-connection.ts';
import { agentPeer, seeded } from '../helpers/agent-peer.ts';

const CUTS = 1000;

const sum = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** A run of bytes in which every offset below 256 begins differently: a stream's id says where its bytes begin. */
const RUN = Uint8Array.from({ length: 256 + 200_000 }, (_value, index) => (index * 7) & 0xff);

/** Bytes of a stream from an offset on: what arrives can be checked without being kept. */
function patternBytes(id: number, from: number, count: number): Uint8Array {
  const start = (id * 31 + from) & 0xff;
  return RUN.subarray(start, start + count);
}

function checkPattern(id: number, from: number, bytes: Uint8Array): void {
  if (Buffer.compare(bytes, patternBytes(id, from, bytes.length)) !== 0)
    throw new Error(`stream ${id}: wrong bytes from ${from}`);
}

describe('the connection to the agent', () => {
  it(`survives ${CUTS} cuts`, { timeout: 240_000 }, async () => {
    const random = seeded(20_251);
    const faults: unknown[] = [];
    let resets = 0;
    const fragment = (): number => [1 + random(7), 1 + random(300), 1 + random(100_000)][random(3)] as number;
    const peer = agentPeer(
      (agent) => ({
        // A half request would have the wrong sum.
        reseed: (request) => {
          if (
            request.entropy.length < 64 ||
            sum(request.entropy.subarray(64)) !== Buffer.from(request.entropy.subarray(0, 64)).toString()
          ) {
            faults.push('a damaged request');
          }
          return {};
        },
        guestInfo: async (_request, { signal }) => {
          // Answers late: over a reset as often as not.
          await new Promise<void>((resolve) => signal.addEventListener('abort', resolve));
          return { uptimeNs: 1n };
        },
        statsContainer: (request) => ({
          memory: { stat: new Map([[request.containerId, BigInt(request.containerId.length)]]) },
        }),
        dial: (request) => {
          const stream = agent().mux.accept(request.stream);
          let received = 0;
          let sent = 0;
          const send = (max: number): void => {
            const piece = patternBytes(stream.id, sent, Math.min(max, 1 + random(20_000)));
            sent += piece.length;
            stream.send(piece);
            stream.whenWritable(send);
          };
          stream.onData = (bytes) => {
            try {
              checkPattern(stream.id, received, bytes);
            } catch (error) {
              faults.push(error);
            }
            received += bytes.length;
            stream.consumed(bytes.length);
          };
          stream.whenWritable(send);
          return {};
        },
      }),
      { control: { fragment }, bytes: { fragment }, onReset: () => resets++ },
    );

    const busy = async (connection: AgentConnection): Promise<void> => {
      const content = patternBytes(random(256), 0, random(3) === 0 ? random(200_000) : random(500));
      const entropy = new Uint8Array([...Buffer.from(sum(content)), ...content]);
      void connection.call.reseed({ entropy }).catch(() => {});
      void connection.call.guestInfo({}).catch(() => {});
      if (random(2) === 0) return;
      const stream = connection.openStream();
      await connection.call.dial({ stream: stream.id });
      void (async () => {
        let at = 0;
        for (;;) {
          const piece = patternBytes(stream.id, at, 1 + random(30_000));
          await stream.write(piece);
          at += piece.length;
        }
      })().catch(() => {});
      let received = 0;
      for await (const bytes of stream) {
        checkPattern(stream.id, received, bytes);
        received += bytes.length;
      }
    };

    const ticks = async (count: number): Promise<void> => {
      for (let index = 0; index < count; index++) await Promise.resolve();
    };

    for (let cut = 0; cut < CUTS; cut++) {
      const name = `container-${cut}`.padEnd(20 + random(200), 'x');
      const connection = await peer.connect({ fresh: cut === 0 });
      const stats = await connection.call.statsContainer({ containerId: name });
      expect(stats.memory?.stat).toEqual(new Map([[name, BigInt(name.length)]]));
      expect(peer.agent.mux.streamCount).toBe(0);

      const work = Array.from({ length: 1 + random(3) }, () => busy(connection).catch((error: Error) => error));
      await ticks(random(200));
      cutBoth();
      await connection.closed;
      for (const end of await Promise.all(work))
        if (end && !/stream|call|link|connection/.test(end.message)) faults.push(end);
      expect(faults).toEqual([]);

      // Now and then the next connection is cut in its own reset.
      for (let again = random(3); again > 0; again--) {
        const failing = peer.connect().then(
          (late) => late.closed,
          (error: Error) => error,
        );
        await ticks(random(60));
        cutBoth();
        await failing;
      }
    }
    expect(resets).toBeGreaterThanOrEqual(CUTS);
    expect(peer.agent.server.inFlight).toBeLessThan(10);

    function cutBoth(): void {
      for (const port of [peer.control, peer.bytes]) {
        // Of what is under way a part arrives; what the guest has not handed over may still come to the next host.
        port.cut(random(1 + port.underway), random(1 + port.guest.pendingBytes), random(2) === 0);
      }
    }
  });
});
