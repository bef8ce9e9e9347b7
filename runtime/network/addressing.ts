/**
 * The addresses of a sandbox's user-mode network: the same in every sandbox, because none sees another. They say nothing
 * about the host, so that a saved machine fits any. It makes no call.
 */
import type { NetworkConfig } from '../../agent/protocol/generated/agent.ts';
import type { Init } from '../../agent/protocol/message.ts';

/** Locally administered; nobody else is on that link. */
export const GUEST_MAC = '02:74:73:6b:00:01';

/** Nothing below IP cuts packets, so they are as large as IPv4 allows in whole words. */
export const MTU = 65_520;

const INTERFACE = 'eth0';

/** One family's addresses, without prefix length but where it is named. */
interface FamilyAddresses {
  readonly network: string;
  readonly guest: string;
  readonly prefix: number;
  readonly gateway: string;
  /** An address that is mapped to a resolver which the guest cannot reach by its own. */
  readonly resolver: string;
}

export const INET4: FamilyAddresses & { readonly mask: string } = {
  network: '10.0.2.0',
  mask: '255.255.255.0',
  guest: '10.0.2.15',
  prefix: 24,
  gateway: '10.0.2.2',
  resolver: '10.0.2.3',
};

export const INET6: FamilyAddresses = {
  network: 'fd74:736b:6174:61::',
  guest: 'fd74:736b:6174:61::15',
  prefix: 64,
  gateway: 'fd74:736b:6174:61::2',
  resolver: 'fd74:736b:6174:61::3',
};

/** Which families the host can reach others by. */
export interface Families {
  readonly inet4: boolean;
  readonly inet6: boolean;
}

/** What the agent configures. */
export function guestNetwork(families: Families): Init<NetworkConfig> {
  const used = [...(families.inet4 ? [INET4] : []), ...(families.inet6 ? [INET6] : [])];
  return {
    interfaces: [
      {
        mac: GUEST_MAC,
        name: INTERFACE,
        mtu: MTU,
        addresses: used.map(({ guest, prefix }) => `${guest}/${prefix}`),
      },
    ],
    routes: used.map((family) => ({
      destination: '',
      gateway: family.gateway,
      interface: INTERFACE,
      family: family === INET4 ? 4 : 6,
    })),
  };
}

/** The guest's own addresses. */
export function guestAddresses(families: Families): string[] {
  return [...(families.inet4 ? [INET4.guest] : []), ...(families.inet6 ? [INET6.guest] : [])];
}
