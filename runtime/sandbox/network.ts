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

/** What a network needs of its guest. */
export interface NetworkGuest {
  readonly dial: DialGuest;
  /** Brings the guest's whole network to this state. */
  readonly configure: (config: Init<NetworkConfig>) => Promise<void>;
  /** Plugs a network card into the running machine, and takes the one of a hardware address out. */
  readonly attachNic: (nic: NicConfig) => Promise<void>;
  readonly detachNic: (mac: string) => Promise<void>;
}

/** A sandbox's network, ready for its machine. */
export interface OpenNetwork {
  /** None: the guest has its loopback only. */
  readonly nics: readonly NicConfig[];
  /** What the agent configures. */
  readonly config: Init<NetworkConfig>;
  /** Addresses of the guest without prefix length, for /etc/hosts. */
  readonly addresses: readonly string[];
  readonly nameServers: readonly string[];
  /** Begins to pass on connections, and changes of the network. Called once the guest is up. */
  connect(guest: NetworkGuest): Promise<void>;
  /** Gives everything back. Idempotent. */
  close(): Promise<void>;
}

/** Makes networks. An error names the port or program; nothing is left behind. */
export interface NetworkProvider {
  open(options: NetworkOptions): Promise<OpenNetwork>;
}

/** Loopback only. */
export const noNetwork: OpenNetwork = {
  nics: [],
  config: {},
  addresses: [],
  nameServers: [],
  connect: () => Promise.resolve(),
  close: () => Promise.resolve(),
};
