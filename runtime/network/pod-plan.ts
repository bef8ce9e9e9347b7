/**
 * From what is in a pod's network namespace to what its guest gets: which interfaces are carried, and their addresses,
 * routes and neighbours exactly as they are. Pure. What a guest makes by itself is left out: link-local addresses, and
 * what routers on the link announce, which reaches the guest as it would reach the namespace.
 */
import type { Interface, Neighbor, NetworkConfig, Route } from '../../agent/protocol/generated/agent.ts';
import type { NetworkLink, NetworkRoute, NetworkState } from '../../agent/protocol/generated/helper.ts';
import type { Init } from '../../agent/protocol/message.ts';

const IFF = { UP: 1, LOOPBACK: 8 } as const;
const ARPHRD_ETHER = 1;
const SCOPE_LINK = 253;
const IFA_F = { DADFAILED: 0x08, PERMANENT: 0x80 } as const;
const RT_TABLE_MAIN = 254;
const RTPROT_RA = 9;
/** Taps of our own, as the keeper names them. */
const OWN_TAP = /^tsk[0-9]+$/;
/** Names that the agent takes. */
const INTERFACE_NAME = /^[A-Za-z0-9_.-]{1,15}$/;

/** An interface that is carried into the guest. */
export interface PodInterface {
  /** In the namespace. */
  readonly index: number;
  readonly name: string;
  /** The guest's card has the same, so that what others have learned of the address stays true. */
  readonly mac: string;
  readonly message: Init<Interface>;
  readonly routes: readonly Init<Route>[];
  readonly neighbors: readonly Init<Neighbor>[];
}

/** What a namespace means for its guest. */
export interface PodPlan {
  readonly interfaces: readonly PodInterface[];
  /** What the guest does not get, each with its reason. */
  readonly leftOut: readonly string[];
}

/** Plans. */
export function planPod(state: NetworkState): PodPlan {
  const interfaces: PodInterface[] = [];
  const leftOut: string[] = [];
  for (const link of state.links) {
    const silent = (link.flags & IFF.UP) === 0 || (link.flags & IFF.LOOPBACK) !== 0;
    // A port of a bridge speaks through its bridge.
    if (silent || link.master !== 0 || (link.kind === 'tun' && OWN_TAP.test(link.name))) continue;
    const obstacle = obstacleOf(link, interfaces);
    if (obstacle === undefined) interfaces.push(podInterface(link, state));
    else leftOut.push(`interface ${link.name}: ${obstacle}`);
  }
  const manyHops = state.routes.filter((route) => route.table === RT_TABLE_MAIN && route.index === 0);
  leftOut.push(...manyHops.map(({ destination }) => `route ${destination || 'default'}: it has several next hops`));
  return { interfaces, leftOut };
}

/** The whole wanted state of a guest with these interfaces. */
export function guestConfig(interfaces: readonly PodInterface[]): Init<NetworkConfig> {
  return {
    interfaces: interfaces.map(({ message }) => message),
    routes: interfaces.flatMap(({ routes }) => routes),
    neighbors: interfaces.flatMap(({ neighbors }) => neighbors),
  };
}

function obstacleOf(link: NetworkLink, others: readonly PodInterface[]): string | undefined {
  if (link.type !== ARPHRD_ETHER) return 'it is no Ethernet interface';
  if (!INTERFACE_NAME.test(link.name)) return 'its name has characters that the guest does not take';
  const twin = others.find(({ mac }) => mac === link.mac);
  return twin === undefined ? undefined : `it has the hardware address of ${twin.name}`;
}

function podInterface(link: NetworkLink, state: NetworkState): PodInterface {
  const { index, name, mac, mtu } = link;
  const addresses = state.addresses
    .filter((entry) => entry.index === index)
    .filter(({ address, scope }) => !(address.includes(':') && scope === SCOPE_LINK))
    .filter(({ flags }) => (flags & IFA_F.PERMANENT) !== 0 && (flags & IFA_F.DADFAILED) === 0);
  return {
    index,
    name,
    mac,
    message: { mac, name, mtu, addresses: addresses.map(({ address }) => address), noPrefixRoutes: true },
    routes: state.routes
      .filter((route) => route.index === index && isCarried(route))
      .map((route) => message(route, name)),
    neighbors: state.neighbors
      .filter((neighbor) => neighbor.index === index)
      .map((neighbor) => ({ address: neighbor.address, mac: neighbor.mac, interface: name })),
  };
}

function isCarried({ table, protocol, destination }: NetworkRoute): boolean {
  const ownToGuest = /^(fe80|ff00):/.test(destination);
  return table === RT_TABLE_MAIN && protocol !== RTPROT_RA && !ownToGuest;
}

function message(route: NetworkRoute, name: string): Init<Route> {
  const { destination, gateway, source, family, scope, metric, mtu, onlink } = route;
  return { destination, gateway, interface: name, source, family, scope, metric, mtu, onlink };
}
