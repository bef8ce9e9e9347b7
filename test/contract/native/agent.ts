/**
 * An agent without containers for contract tests: it serves the contract on descriptors 3 (control) and 4 (bytes), on
 * QuickJS as the real one does. Stats answer with what was asked for; dials are a sink, a source or an echo.
 */
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import { Agent } from '../../../agent/protocol/generated/agent.ts';
import { PROTOCOL_VERSION } from '../../../agent/protocol/limits.ts';
import type { MuxStream } from '../../../agent/protocol/mux/stream.ts';
import { type AgentServer, serveAgent } from '../../../agent/protocol/serve.ts';
import { bind } from '../../../agent/protocol/service.ts';
import { FdChannel } from '../../../agent/sys/fd-channel.ts';
import { loop, sys } from '../../../agent/sys/native.ts';

const CONTROL_FD = 3;
const BYTES_FD = 4;

/** Byte `index` of every stream, so that both sides can check without keeping. */
const ramp = new Uint8Array(65_536 + 251);
for (let index = 0; index < ramp.length; index++) ramp[index] = index % 251;

/** Counts and checks what comes; at its end says how much it was, or what was wrong. */
function sink(stream: MuxStream): void {
  let received = 0;
  let wrong = -1;
  stream.onData = (bytes) => {
    const from = received % 251;
    // The ends of a piece tell a shift; the host compares whole hashes of what comes back.
    if (bytes[0] !== ramp[from] || bytes[bytes.length - 1] !== ramp[(from + bytes.length - 1) % 251]) wrong = received;
    received += bytes.length;
    stream.consumed(bytes.length);
  };
  stream.onEnd = () => {
    stream.whenWritable(() => {
      const report = wrong < 0 ? String(received) : `wrong at ${wrong}`;
      stream.send(Uint8Array.from(report, (character) => character.charCodeAt(0)));
      stream.end();
    });
  };
}

/** Sends `total` bytes. */
function source(stream: MuxStream, total: number): void {
  let sent = 0;
  const next = (max: number): void => {
    sent += stream.sendFrom(Math.min(max, total - sent), (buffer, offset, length) => {
      buffer.set(ramp.subarray(sent % 251, (sent % 251) + length), offset);
      return length;
    });
    if (sent < total) stream.whenWritable(next);
    else stream.end();
  };
  stream.whenWritable(next);
}

const agent: AgentServer = serveAgent(new FdChannel(sys, loop, CONTROL_FD), new FdChannel(sys, loop, BYTES_FD), loop, {
  bindings: [
    bind(Agent, {
      hello: () => ({ protocol: PROTOCOL_VERSION, agentVersion: 'contract' }),
      // Whatever can be said in a request comes back in the answer.
      createSandbox: (request) => {
        throw new TskataError(
          Code.Aborted,
          `${request.hostname}|${request.wallClockNs}|${[...request.sysctls].join(',')}`,
        );
      },
      statsContainer: (request) => {
        const values = request.containerId.split(',').map((text) => BigInt(text));
        return {
          cpu: { usageUsec: values[0] ?? 0n },
          memory: {
            stat: new Map(values.map((value, index) => [['__proto__', 'constructor'][index] ?? `k${index}`, value])),
          },
        };
      },
      updateContainer: (request) => {
        throw new TskataError(Code.Aborted, [request.resources?.memoryLimit, request.resources?.cpuShares].join(','));
      },
      dial: (request) => {
        const stream = agent.mux.accept(request.stream);
        if (request.network === 'tcp') sink(stream);
        else source(stream, Number(request.address));
        return {};
      },
    }),
  ],
});

loop.run((error) => {
  throw error;
});
