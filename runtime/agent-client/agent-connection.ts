/**
 * The shim's one connection to the agent of its guest: calls on the control port, streams on the bytes port. It owns
 * both ports from the reset to the end, and knows neither QEMU nor containers.
 */
import { randomBytes } from 'node:crypto';
import type { Channel, Clock } from '../../agent/protocol/channel.ts';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { Agent, type HelloResponse } from '../../agent/protocol/generated/agent.ts';
import { PROTOCOL_VERSION, RESET_TIMEOUT_MS } from '../../agent/protocol/limits.ts';
import { HostLink, resetPorts } from '../../agent/protocol/link/host.ts';
import { LinkPipe } from '../../agent/protocol/link/link.ts';
import { HostMux } from '../../agent/protocol/mux/mux.ts';
import { BYTES_PAYLOAD_BYTES, CONTROL_PAYLOAD_BYTES } from '../../agent/protocol/serve.ts';
import type { Client } from '../../agent/protocol/service.ts';
import { createClient, TtrpcClient } from '../../agent/protocol/ttrpc/client.ts';
import { ByteStream } from './byte-stream.ts';

export interface ConnectOptions {
  /** The guest has just booted, and nothing was ever sent on its ports: the padding is left out. */
  readonly fresh?: boolean;
  /** Deadline of reset and Hello together: for a booting guest, that of the boot. */
  readonly timeoutMs?: number;
  /** Where the numbers come from by which a reset is known; the system's source when absent. */
  readonly random?: (count: number) => Uint8Array;
}

/** Which way a stream flows; the side that does not send ends its direction at once. */
export type StreamDirection = 'from-guest' | 'to-guest' | 'both';

/** Where `dial` connects to inside the guest. */
export interface DialAddress {
  readonly network: 'tcp' | 'udp' | 'unix';
  readonly address: string;
  readonly containerId?: string;
}

export class AgentConnection {
  /** The agent's calls, typed: `connection.call.createContainer(request, { timeoutMs })`. */
  readonly call: Client<typeof Agent>;
  /** What the agent said of itself. */
  readonly hello: HelloResponse;
  /** Resolves with the reason when the connection has ended, also after `close`. Never rejects. */
  readonly closed: Promise<TskataError>;
  private readonly mux: HostMux;
  private readonly stop: (error: TskataError) => void;

  constructor(
    hello: HelloResponse,
    call: Client<typeof Agent>,
    mux: HostMux,
    closed: Promise<TskataError>,
    stop: (error: TskataError) => void,
  ) {
    this.hello = hello;
    this.call = call;
    this.mux = mux;
    this.closed = closed;
    this.stop = stop;
  }

  /** A new stream for a process or a dial. Its `id` goes into the call that names it. */
  openStream(direction: StreamDirection = 'both'): ByteStream {
    const stream = new ByteStream(this.mux.open());
    if (direction === 'from-guest') stream.end();
    return stream;
  }

  /** Connects to an address inside the guest. */
  async dial(target: DialAddress, timeoutMs: number): Promise<ByteStream> {
    const stream = new ByteStream(this.mux.open(), target.network === 'udp' ? 'datagrams' : 'bytes');
    try {
      await this.call.dial({ ...target, stream: stream.id }, { timeoutMs });
      return stream;
    } catch (error) {
      stream.abort();
      throw error;
    }
  }

  /** Streams that are open now. */
  get streamCount(): number {
    return this.mux.streamCount;
  }

  close(): void {
    this.stop(new TskataError(Code.Unavailable, 'agent connection: it was closed'));
  }
}

/**
 * Resets both ports and says hello. Rejects with DeadlineExceeded, Unavailable, or FailedPrecondition (an agent of
 * another major version); both channels are closed then.
 */
export async function connectAgent(
  control: Channel,
  bytes: Channel,
  clock: Clock,
  options: ConnectOptions = {},
): Promise<AgentConnection> {
  const timeoutMs = options.timeoutMs ?? RESET_TIMEOUT_MS;
  const deadlineMs = clock.now() + timeoutMs;
  const controlLink = new HostLink(control, CONTROL_PAYLOAD_BYTES);
  const bytesLink = new HostLink(bytes, BYTES_PAYLOAD_BYTES);
  const client = new TtrpcClient(new LinkPipe(controlLink), clock);
  const mux = new HostMux(bytesLink);
  let tell: (error: TskataError) => void = () => {};
  const closed = new Promise<TskataError>((resolve) => {
    tell = resolve;
  });
  // The two ports end together: half a connection is of no use.
  const stop = (error: TskataError): void => {
    tell(error);
    client.close();
    mux.close(error);
  };
  client.onEnd = stop;
  mux.onDown = stop;
  const { fresh = false, random = randomBytes } = options;
  await resetPorts([controlLink, bytesLink], clock, { random, fresh, timeoutMs });
  const call = createClient(Agent, client);
  try {
    const hello = await call.hello(
      { protocol: PROTOCOL_VERSION },
      { timeoutMs: Math.max(1, deadlineMs - clock.now()) },
    );
    const [ours, theirs] = [Math.floor(PROTOCOL_VERSION / 1000), Math.floor(hello.protocol / 1000)];
    if (ours !== theirs) {
      throw new TskataError(
        Code.FailedPrecondition,
        `connect to the agent: it speaks version ${theirs} of the protocol, this host ${ours}`,
      );
    }
    return new AgentConnection(hello, call, mux, closed, stop);
  } catch (error) {
    stop(TskataError.from(error));
    throw error;
  }
}
