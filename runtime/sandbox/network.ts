/**
 * Owns what the sandbox sees of its network: something to open before the boot, and to close after the end. Refuses
 * to know how packets leave the host; `runtime/network` does.
 */
import type { NetworkConfig } from '../../agent/protocol/generated/agent.ts';
import type { Init } from '../../agent/protocol/message.ts';
import type { NicConfig } from '../vm/vm.ts';
import type { NetworkOptions } from './config.ts';
import type { GuestStream } from './guest.ts';

/** Opens a stream to an address inside the guest. Rejects when nothing listens there. */
export type DialGuest = (network: 'tcp' | 'udp' | 'unix', address: string) => Promise<GuestStream>;

/** A sandbox's network, ready for its machine. */
export interface OpenNetwork {
  /** Absent: the guest has its loopback only. */
  readonly nic?: NicConfig;
  /** What the agent configures. */
  readonly config: Init<NetworkConfig>;
  /** Addresses of the guest without prefix length, for /etc/hosts. */
  readonly addresses: readonly string[];
  readonly nameServers: readonly string[];
  /** Begins to pass on connections to published ports. Called once the guest is up. */
  connect(dial: DialGuest): Promise<void>;
  /** Gives everything back. Idempotent. */
  close(): Promise<void>;
}

/** Makes networks. An error names the port or program; nothing is left behind. */
export interface NetworkProvider {
  open(options: NetworkOptions): Promise<OpenNetwork>;
}

/** Loopback only. */
export const noNetwork: OpenNetwork = {
  config: {},
  addresses: [],
  nameServers: [],
  connect: () => Promise.resolve(),
  close: () => Promise.resolve(),
};
