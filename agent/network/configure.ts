/**
 * Owns the wanted state of the sandbox's network: interfaces found by hardware address, renamed, addressed and routed;
 * what is there and not wanted is removed. The loopback is left alone.
 */

import type { Uevents } from '../boot/uevents.ts';
import { Code, TskataError } from '../protocol/errors.ts';
import type { Interface, Neighbor, NetworkConfig, Route } from '../protocol/generated/agent.ts';
import { checkCount, invalid, quoted } from '../service/check.ts';
import { close, ioctl } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { isErrno } from '../sys/errors.ts';
import { formatIp, parseIp, parseMac, parsePrefixed } from '../sys/ip.ts';
import { AF, IFF, IOCTL, SOCK } from '../sys/linux.ts';
import {
  IFA_F,
  type Link,
  type LinkAddress,
  type NeighborEntry,
  type RouteEntry,
  RouteSocket,
  RT_TABLE_MAIN,
} from '../sys/rtnetlink.ts';
import { socket } from '../sys/sockets.ts';
import { ifreq } from '../sys/structs.ts';
import type { Sys } from '../sys/sys.ts';

const INTERFACE_TIMEOUT_MS = 10_000;
const MAX_ENTRIES = 256;
/** Routes of the kernel's own, and those that a router on the link has announced. */
const LEARNED_ROUTES = [2, 9];
const SCOPE_LINK = 253;

/** An interface of the request, checked. */
interface WantedInterface {
  readonly field: string;
  readonly mac: Uint8Array;
  readonly name: string;
  readonly mtu: number;
  readonly addresses: readonly { readonly text: string; readonly address: Uint8Array; readonly prefix: number }[];
  /** IFA_F.* of the addresses. */
  readonly addressFlags: number;
}

const same = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, index) => byte === b[index]);

function checkInterface(field: string, message: Interface): WantedInterface {
  const mac = parseMac(message.mac);
  if (mac === undefined) throw invalid(`${field}.mac`, `${quoted(message.mac)} is not a hardware address`);
  if (!/^[A-Za-z0-9_.-]{1,15}$/.test(message.name) || message.name === 'lo') {
    throw invalid(`${field}.name`, `${quoted(message.name)} is not an interface name`);
  }
  checkCount(`${field}.addresses`, message.addresses, MAX_ENTRIES);
  const addresses = message.addresses.map((text) => {
    const parsed = parsePrefixed(text);
    if (parsed === undefined) throw invalid(`${field}.addresses`, `${quoted(text)} is not an address with prefix`);
    return { text, ...parsed };
  });
  if (message.mtu !== 0 && (message.mtu < 68 || message.mtu > 65_535)) throw invalid(`${field}.mtu`, `${message.mtu}`);
  const addressFlags = message.noPrefixRoutes ? IFA_F.NOPREFIXROUTE : 0;
  return { field, mac, name: message.name, mtu: message.mtu, addresses, addressFlags };
}

function ip(field: string, text: string): Uint8Array {
  const address = parseIp(text);
  if (address === undefined) throw invalid(field, `${quoted(text)} is not an address`);
  return address;
}

function indexOf(field: string, links: readonly Link[], name: string): number {
  const link = links.find((candidate) => candidate.name === name);
  if (link === undefined) throw new TskataError(Code.NotFound, `${field}: there is no interface ${quoted(name)}`);
  return link.index;
}

function routeEntry(field: string, links: readonly Link[], route: Route): RouteEntry {
  const destination = route.destination === '' ? undefined : parsePrefixed(route.destination);
  if (destination === undefined && route.destination !== '') {
    throw invalid(`${field}.destination`, `${quoted(route.destination)} is not an address with prefix`);
  }
  const gateway = route.gateway === '' ? undefined : ip(`${field}.gateway`, route.gateway);
  const first = destination?.address ?? gateway;
  const family = first === undefined ? (route.family === 6 ? 6 : 4) : first.length === 4 ? 4 : 6;
  return {
    ...(destination === undefined || destination.prefix === 0 ? {} : { destination }),
    family,
    ...(gateway === undefined ? {} : { gateway }),
    ...(route.interface === '' ? {} : { index: indexOf(`${field}.interface`, links, route.interface) }),
    ...(route.source === '' ? {} : { source: ip(`${field}.source`, route.source) }),
    // A route without a gateway leads to neighbours; the kernel wants that said.
    scope: route.scope === 0 && gateway === undefined ? SCOPE_LINK : route.scope,
    ...(route.metric === 0 ? {} : { metric: route.metric }),
    ...(route.mtu === 0 ? {} : { mtu: route.mtu }),
    onlink: route.onlink,
  };
}

function neighborEntry(field: string, links: readonly Link[], neighbor: Neighbor): NeighborEntry {
  const mac = parseMac(neighbor.mac);
  if (mac === undefined) throw invalid(`${field}.mac`, `${quoted(neighbor.mac)} is not a hardware address`);
  return {
    index: indexOf(`${field}.interface`, links, neighbor.interface),
    address: ip(`${field}.address`, neighbor.address),
    mac,
  };
}

/** Brings the network of this guest to the wanted state. Waits for interfaces that are being plugged in. */
export async function configureNetwork(sys: Sys, uevents: Uevents, config: NetworkConfig): Promise<void> {
  for (const [name, list] of Object.entries({ ...config })) checkCount(`network.${name}`, list, MAX_ENTRIES);
  const wanted = config.interfaces.map((message, index) => checkInterface(`network.interfaces[${index}]`, message));
  const routes = new RouteSocket(sys);
  try {
    for (const each of wanted) await waitForInterface(routes, uevents, each);
    renameAll(routes, wanted);
    for (const each of wanted) configureInterface(routes, each);
    const links = routes.links();
    takeDown(routes, links, wanted);
    const wantedRoutes = config.routes.map((route, index) => routeEntry(`network.routes[${index}]`, links, route));
    applyRoutes(routes, links, wantedRoutes, config.routes);
    const neighbors = config.neighbors.map((each, index) => neighborEntry(`network.neighbors[${index}]`, links, each));
    applyNeighbors(routes, neighbors);
  } finally {
    routes.close();
  }
}

/** Removes what the kernel may have removed meanwhile: routes go with their address, learned ones by themselves. */
function gone(remove: () => void): void {
  try {
    remove();
  } catch (error) {
    if (!isErrno(error, E.ESRCH, E.ENOENT, E.EADDRNOTAVAIL)) throw error;
  }
}

/** A guest's loopback is down at its birth. Two calls: listing links by netlink first costs a third of the agent's start. */
export function bringUpLoopback(sys: Sys): void {
  const fd = socket(sys, AF.INET, SOCK.DGRAM);
  try {
    ioctl(sys, fd, IOCTL.SIOCSIFFLAGS, ifreq('lo', IFF.UP));
  } finally {
    close(sys, fd);
  }
}

async function waitForInterface(socket: RouteSocket, uevents: Uevents, wanted: WantedInterface): Promise<void> {
  const look = (): Link | undefined => socket.links().find((link) => same(link.mac, wanted.mac));
  if ((await uevents.waitFor(look, INTERFACE_TIMEOUT_MS)) !== undefined) return;
  const fact = `no interface with this address appeared within ${INTERFACE_TIMEOUT_MS / 1000} s`;
  throw new TskataError(Code.NotFound, `${wanted.field}.mac: ${fact}`);
}

/** In two rounds when a wanted name is taken by another wanted interface. A link must be down to be renamed. */
function renameAll(socket: RouteSocket, wanted: readonly WantedInterface[]): void {
  const links = socket.links();
  const moving = wanted.flatMap((each) => {
    const link = links.find((candidate) => same(candidate.mac, each.mac));
    return link === undefined || link.name === each.name ? [] : [{ index: link.index, name: each.name }];
  });
  const taken = moving.filter(({ name }) => links.some((link) => link.name === name));
  for (const { index } of moving) socket.changeLink(index, { up: false });
  for (const { name } of taken) {
    const holder = links.find((link) => link.name === name);
    if (holder === undefined) continue;
    if ((holder.flags & IFF.UP) !== 0) socket.changeLink(holder.index, { up: false });
    socket.changeLink(holder.index, { name: `moved${holder.index}` });
  }
  for (const { index, name } of moving) socket.changeLink(index, { name });
}

function configureInterface(socket: RouteSocket, wanted: WantedInterface): void {
  const link = socket.links().find((candidate) => same(candidate.mac, wanted.mac));
  if (link === undefined) throw new TskataError(Code.NotFound, `${wanted.field}.mac: the interface has vanished`);
  socket.changeLink(link.index, { up: true, ...(wanted.mtu === 0 ? {} : { mtu: wanted.mtu }) });
  const before = socket.addresses().filter((entry) => entry.index === link.index);
  for (const entry of before) {
    const kept = wanted.addresses.some(
      ({ address, prefix }) => same(address, entry.address) && prefix === entry.prefix,
    );
    // The link-local address of IPv6 is the kernel's own; so is one that a router's announcement gave.
    const linkLocal = entry.address.length === 16 && entry.scope === SCOPE_LINK;
    const own = linkLocal || ((entry.flags ?? 0) & IFA_F.PERMANENT) === 0;
    if (!kept && !own) gone(() => socket.deleteAddress(entry, formatIp(entry.address)));
  }
  for (const { address, prefix, text } of wanted.addresses) {
    const entry: LinkAddress = { index: link.index, address, prefix, scope: 0, flags: wanted.addressFlags };
    socket.addAddress(entry, text);
  }
}

/** Interfaces that nobody wants (any more). */
function takeDown(socket: RouteSocket, links: readonly Link[], wanted: readonly WantedInterface[]): void {
  for (const link of links) {
    const foreign = (link.flags & IFF.LOOPBACK) === 0 && link.kind === '';
    if (foreign && (link.flags & IFF.UP) !== 0 && !wanted.some(({ mac }) => same(mac, link.mac))) {
      socket.changeLink(link.index, { up: false });
    }
  }
}

function applyRoutes(
  socket: RouteSocket,
  links: readonly Link[],
  wanted: readonly RouteEntry[],
  messages: readonly Route[],
): void {
  const hardware = new Set(
    links.filter((link) => link.kind === '' && (link.flags & IFF.LOOPBACK) === 0).map((link) => link.index),
  );
  for (const route of socket.routes()) {
    const foreign = route.table !== RT_TABLE_MAIN || LEARNED_ROUTES.includes(route.protocol);
    if (foreign || route.index === undefined || !hardware.has(route.index)) continue;
    if (!wanted.some((entry) => sameRoute(entry, route))) gone(() => socket.deleteRoute(route, 'left over'));
  }
  // Gateways must be reachable when a route names them: routes to neighbours first.
  const order = wanted.map((route, index) => ({ route, text: messages[index]?.destination ?? '' }));
  for (const direct of [true, false]) {
    for (const { route, text } of order) {
      if ((route.gateway === undefined) === direct) socket.addRoute(route, text === '' ? 'default' : text);
    }
  }
}

function sameRoute(a: RouteEntry, b: RouteEntry): boolean {
  const sameDestination =
    a.destination === undefined || b.destination === undefined
      ? a.destination === b.destination
      : a.destination.prefix === b.destination.prefix && same(a.destination.address, b.destination.address);
  const none = new Uint8Array(0);
  return (
    a.family === b.family &&
    sameDestination &&
    same(a.gateway ?? none, b.gateway ?? none) &&
    (a.metric ?? 0) === (b.metric ?? 0) &&
    a.mtu === b.mtu
  );
}

function applyNeighbors(socket: RouteSocket, wanted: readonly NeighborEntry[]): void {
  for (const entry of socket.neighbors()) {
    if (wanted.some((each) => each.index === entry.index && same(each.address, entry.address))) continue;
    gone(() => socket.deleteNeighbor(entry.index, entry.address, formatIp(entry.address)));
  }
  for (const entry of wanted) socket.addNeighbor(entry, formatIp(entry.address));
}
