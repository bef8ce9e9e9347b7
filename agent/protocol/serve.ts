/**
 * The guest's whole side of the contract: both ports, their resets, the calls and the streams. The agent hands in its
 * channels and its services.
 */
import type { Channel, Clock } from './channel.ts';
import { Code, TskataError } from './errors.ts';
import { MAX_AGENT_MESSAGE_BYTES, MAX_STREAM_BODY_BYTES, TTRPC_HEADER_BYTES } from './limits.ts';
import { GuestLink } from './link/guest.ts';
import { LinkPipe } from './link/link.ts';
import { MUX_HEADER_BYTES } from './mux/frame.ts';
import { GuestMux } from './mux/mux.ts';
import type { Binding } from './service.ts';
import { type ServerOptions, TtrpcServer } from './ttrpc/server.ts';

/** Payloads of the two ports' records. */
export const CONTROL_PAYLOAD_BYTES = TTRPC_HEADER_BYTES + MAX_AGENT_MESSAGE_BYTES;
export const BYTES_PAYLOAD_BYTES = MUX_HEADER_BYTES + MAX_STREAM_BODY_BYTES;

export interface AgentServerOptions extends ServerOptions {
  readonly bindings: readonly Binding[];
  /** The host has begun a new connection on the control port: calls and streams of the one before are over. */
  readonly onReset?: () => void;
}

export interface AgentServer {
  readonly mux: GuestMux;
  readonly server: TtrpcServer;
}

/** Serves the host on both ports, over any number of its connections. */
export function serveAgent(control: Channel, bytes: Channel, clock: Clock, options: AgentServerOptions): AgentServer {
  const controlLink = new GuestLink(control, CONTROL_PAYLOAD_BYTES);
  const bytesLink = new GuestLink(bytes, BYTES_PAYLOAD_BYTES);
  const server = new TtrpcServer(new LinkPipe(controlLink), options.bindings, clock, options);
  const mux = new GuestMux(bytesLink);
  controlLink.onReset = () => {
    server.reset('the host has begun a new connection');
    options.onReset?.();
  };
  bytesLink.onReset = () => mux.reset(new TskataError(Code.Unavailable, 'stream: the host has begun a new connection'));
  return { mux, server };
}
