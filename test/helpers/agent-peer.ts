/** An agent on memory ports that speaks the real bytes: for tests of what runs above and below the contract. */
import type { Clock } from '../../agent/protocol/channel.ts';
import { Agent } from '../../agent/protocol/generated/agent.ts';
import { PROTOCOL_VERSION } from '../../agent/protocol/limits.ts';
import { type MemoryOptions, MemoryPort } from '../../agent/protocol/memory-channel.ts';
import { type AgentServer, serveAgent } from '../../agent/protocol/serve.ts';
import { bind, type Handlers } from '../../agent/protocol/service.ts';
import {
  type AgentConnection,
  type ConnectOptions,
  connectAgent,
} from '../../runtime/agent-client/agent-connection.ts';
import { nodeClock } from '../../runtime/host/clock.ts';

export interface AgentPeer {
  readonly control: MemoryPort;
  readonly bytes: MemoryPort;
  readonly agent: AgentServer;
  connect(options?: ConnectOptions): Promise<AgentConnection>;
}

/** An agent with these handlers; Hello has one already. */
export function agentPeer(
  handlers: (agent: () => AgentServer) => Partial<Handlers<typeof Agent>>,
  options: {
    readonly control?: MemoryOptions;
    readonly bytes?: MemoryOptions;
    readonly clock?: Clock;
    readonly onReset?: () => void;
  } = {},
): AgentPeer {
  const control = new MemoryPort(options.control);
  const bytes = new MemoryPort(options.bytes);
  const hello = { hello: () => ({ protocol: PROTOCOL_VERSION, agentVersion: 'test' }) };
  const agent: AgentServer = serveAgent(control.guest, bytes.guest, options.clock ?? nodeClock, {
    bindings: [bind(Agent, { ...hello, ...handlers(() => agent) })],
    ...(options.onReset ? { onReset: options.onReset } : {}),
  });
  return {
    control,
    bytes,
    agent,
    connect: (connect) => connectAgent(control.connect(), bytes.connect(), options.clock ?? nodeClock, connect),
  };
}

/** A small generator of reproducible numbers: `next(n)` is in 0..n-1. */
export function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    // Mulberry32: enough for choosing cuts.
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) % below;
  };
}
