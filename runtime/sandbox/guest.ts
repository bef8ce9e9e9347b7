/**
 * Owns what the sandbox sees of a guest: the agent's calls and byte streams. `runtime/agent-client` implements it over
 * the machine's ports; a fake agent over memory channels does in tests. Refuses to know how bytes travel.
 */
import type { Channel, Clock } from '../../agent/protocol/channel.ts';
import type { Agent } from '../../agent/protocol/generated/agent.ts';
import type { Client } from '../../agent/protocol/service.ts';

/** One ordered flow of bytes each way, with its own credit. */
export interface GuestStream {
  /** Named in requests; never 0. */
  readonly id: number;
  /** Resolves when the guest's credit has let the bytes go. Rejects when the stream is gone. */
  write(bytes: Uint8Array): Promise<void>;
  /** No more bytes from us. */
  end(): void;
  /** Gives the stream up in both directions. Idempotent. */
  abort(): void;
  /** Bytes of the guest until its end; asking for the next chunk grants credit. Throws when the stream was aborted. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array>;
}

/** A connection to the agent of one guest. */
export interface GuestConnection {
  readonly call: Client<typeof Agent>;
  /** A new stream; the side that does not send ends its direction at once. */
  openStream(direction?: 'from-guest' | 'to-guest' | 'both'): GuestStream;
  /** Resolves with the reason when the connection is over. Never rejects. */
  readonly closed: Promise<Error>;
  close(): void;
}

/** How to connect. */
interface ConnectGuestOptions {
  /** Nothing was ever sent to this guest. */
  readonly fresh: boolean;
  /** Deadline of the whole connection: that of the boot. */
  readonly timeoutMs: number;
}

/** Opens a connection over a machine's two ports and says hello; throws when no agent of our version answers in time. */
export type ConnectGuest = (
  control: Channel,
  bytes: Channel,
  clock: Clock,
  options: ConnectGuestOptions,
) => Promise<GuestConnection>;
