/**
 * Owns links, addresses, routes and neighbours of one network namespace, as typed calls over rtnetlink. Knows no policy:
 * which interface gets which address is the caller's business. Addresses are 4 or 16 bytes (`ip.ts`).
 */

import { AF, IFF } from './linux.ts';
import { attribute, NetlinkSocket, NLM_F, nested, parseAttributes } from './netlink.ts';
import { concat, cString, viewOf, words32 } from './structs.ts';
import type { Sys } from './sys.ts';

const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
  NEWNEIGH: 28,
  DELNEIGH: 29,
  GETNEIGH: 30,
} as const;
const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  MASTER: 10,
  LINKINFO: 18,
  STATS64: 23,
  NET_NS_FD: 28,
  AF_SPEC: 26,
} as const;
const IFLA_INFO = { KIND: 1, DATA: 2 } as const;
const VETH_INFO_PEER = 1;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_NONE = 1;
const IFA = { ADDRESS: 1, LOCAL: 2, FLAGS: 8 } as const;
/** Flags of an address: usable at once without duplicate detection; not learned; without a route to its prefix. */
export const IFA_F = { NODAD: 0x02, PERMANENT: 0x80, NOPREFIXROUTE: 0x200 } as const;
const RTA = { DST: 1, OIF: 4, GATEWAY: 5, PRIORITY: 6, PREFSRC: 7, METRICS: 8, TABLE: 15 } as const;
const RTAX_MTU = 2;
const RTNH_F_ONLINK = 4;
export const RT_TABLE_MAIN = 254;
const RTPROT_BOOT = 3;
const RTN_UNICAST = 1;
const NDA = { DST: 1, LLADDR: 2 } as const;
const NUD_PERMANENT = 0x80;

/** Packets and bytes since the link exists. */
interface LinkStats {
  readonly rxPackets: bigint;
  readonly txPackets: bigint;
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  readonly rxErrors: bigint;
  readonly txErrors: bigint;
  readonly rxDropped: bigint;
  readonly txDropped: bigint;
}

export interface Link {
  readonly index: number;
  readonly name: string;
  /** Hardware address; empty when the link has none. */
  readonly mac: Uint8Array;
  readonly mtu: number;
  /** IFF.* */
  readonly flags: number;
  /** "veth", "tun", "bridge"; empty for hardware. */
  readonly kind: string;
  /** ARPHRD_*: 1 Ethernet. */
  readonly type: number;
  /** Index of the bridge that it is a port of; 0 for none. */
  readonly master: number;
  readonly stats: LinkStats | undefined;
}

/** What to change of a link; what is absent stays. */
export interface LinkChange {
  readonly up?: boolean;
  readonly name?: string;
  readonly mtu?: number;
  readonly mac?: Uint8Array;
  /** Index of the bridge; 0 for none. */
  readonly master?: number;
  /** Moves the link into the namespace of this descriptor. */
  readonly netnsFd?: number;
  /** The kernel gives it no link-local IPv6 address, and so says nothing by itself. */
  readonly silent?: boolean;
}

export interface LinkAddress {
  readonly index: number;
  readonly address: Uint8Array;
  readonly prefix: number;
  /** RT_SCOPE_*: 0 universe, 253 link, 254 host. */
  readonly scope: number;
  /** IFA_F.* */
  readonly flags?: number;
}

export interface RouteEntry {
  /** Without it the default route of `family`. */
  readonly destination?: { readonly address: Uint8Array; readonly prefix: number };
  readonly family: 4 | 6;
  readonly gateway?: Uint8Array;
  readonly index?: number;
  readonly source?: Uint8Array;
  /** RT_SCOPE_* */
  readonly scope?: number;
  readonly metric?: number;
  /** Bytes of the largest packet on the way, when it is not the interface's. */
  readonly mtu?: number;
  /** The gateway need not be in a connected subnet. */
  readonly onlink?: boolean;
}

/** A route that the kernel told of. */
export interface KnownRoute extends RouteEntry {
  readonly table: number;
  /** RTPROT_*: 2 made by the kernel itself. */
  readonly protocol: number;
}

export interface NeighborEntry {
  readonly index: number;
  readonly address: Uint8Array;
  readonly mac: Uint8Array;
}

const NO_ADDRESS_GENERATION = nested(
  IFLA.AF_SPEC,
  nested(AF.INET6, attribute(IFLA_INET6_ADDR_GEN_MODE, Uint8Array.of(IN6_ADDR_GEN_MODE_NONE))),
);

const familyOf = (address: Uint8Array): number => (address.length === 4 ? AF.INET : AF.INET6);

/** struct ifinfomsg. */
function linkHeader(index: number, flags = 0, change = 0): Uint8Array {
  return words32(0, index, flags, change);
}

/** struct ifaddrmsg. */
function addressHeader(entry: LinkAddress): Uint8Array {
  return concat([Uint8Array.of(familyOf(entry.address), entry.prefix, 0, entry.scope), words32(entry.index)]);
}

/** Links, addresses, routes and neighbours of the namespace in which it was made. */
export class RouteSocket {
  readonly #netlink: NetlinkSocket;

  constructor(sys: Sys) {
    this.#netlink = new NetlinkSocket(sys);
  }

  close(): void {
    this.#netlink.close();
  }

  links(): Link[] {
    const messages = this.#netlink.dump(RTM.GETLINK, linkHeader(0), 'list network links');
    return messages.filter(({ type }) => type === RTM.NEWLINK).map(({ payload }) => parseLink(payload));
  }

  /** The link of that name. */
  findLink(name: string): Link | undefined {
    return this.links().find((link) => link.name === name);
  }

  changeLink(index: number, change: LinkChange): void {
    const attributes: Uint8Array[] = [];
    if (change.name !== undefined) attributes.push(attribute(IFLA.IFNAME, change.name));
    if (change.mtu !== undefined) attributes.push(attribute(IFLA.MTU, change.mtu));
    if (change.mac !== undefined) attributes.push(attribute(IFLA.ADDRESS, change.mac));
    if (change.master !== undefined) attributes.push(attribute(IFLA.MASTER, change.master));
    if (change.netnsFd !== undefined) attributes.push(attribute(IFLA.NET_NS_FD, change.netnsFd));
    if (change.silent === true) attributes.push(NO_ADDRESS_GENERATION);
    const header = linkHeader(index, change.up === true ? IFF.UP : 0, change.up === undefined ? 0 : IFF.UP);
    this.#netlink.change(RTM.NEWLINK, 0, concat([header, ...attributes]), 'change network link', `#${index}`);
  }

  /** A new link of a kind without options: "bridge", "dummy". */
  addLink(name: string, kind: string): void {
    const info = nested(IFLA.LINKINFO, attribute(IFLA_INFO.KIND, kind));
    this.#create(concat([linkHeader(0), attribute(IFLA.IFNAME, name), info]), name);
  }

  /** Two connected ends; the peer in the namespace of `peerNetnsFd` when given. */
  addVeth(name: string, peerName: string, peerNetnsFd?: number): void {
    const peer: Uint8Array[] = [linkHeader(0), attribute(IFLA.IFNAME, peerName)];
    if (peerNetnsFd !== undefined) peer.push(attribute(IFLA.NET_NS_FD, peerNetnsFd));
    const data = nested(IFLA_INFO.DATA, nested(VETH_INFO_PEER, ...peer));
    const info = nested(IFLA.LINKINFO, attribute(IFLA_INFO.KIND, 'veth'), data);
    this.#create(concat([linkHeader(0), attribute(IFLA.IFNAME, name), info]), name);
  }

  deleteLink(index: number): void {
    this.#netlink.change(RTM.DELLINK, 0, linkHeader(index), 'delete network link', `#${index}`);
  }

  addresses(): LinkAddress[] {
    const messages = this.#netlink.dump(RTM.GETADDR, linkHeader(0), 'list addresses');
    return messages.flatMap(({ type, payload }) => (type === RTM.NEWADDR ? parseAddress(payload) : []));
  }

  /** Adds an address, or replaces it. */
  addAddress(entry: LinkAddress, subject: string): void {
    const payload = concat([
      addressHeader(entry),
      attribute(IFA.LOCAL, entry.address),
      attribute(IFA.ADDRESS, entry.address),
      attribute(IFA.FLAGS, IFA_F.NODAD | (entry.flags ?? 0)),
    ]);
    this.#netlink.change(RTM.NEWADDR, NLM_F.CREATE | NLM_F.REPLACE, payload, 'add address', subject);
  }

  deleteAddress(entry: LinkAddress, subject: string): void {
    const payload = concat([addressHeader(entry), attribute(IFA.LOCAL, entry.address)]);
    this.#netlink.change(RTM.DELADDR, 0, payload, 'delete address', subject);
  }

  /** Unicast routes of all tables. */
  routes(): KnownRoute[] {
    const messages = this.#netlink.dump(RTM.GETROUTE, new Uint8Array(12), 'list routes');
    return messages.flatMap(({ type, payload }) => (type === RTM.NEWROUTE ? parseRoute(payload) : []));
  }

  /** Adds a route to the main table, or replaces it. */
  addRoute(route: RouteEntry, subject: string): void {
    this.#netlink.change(RTM.NEWROUTE, NLM_F.CREATE | NLM_F.REPLACE, routePayload(route), 'add route', subject);
  }

  deleteRoute(route: RouteEntry, subject: string): void {
    this.#netlink.change(RTM.DELROUTE, 0, routePayload(route), 'delete route', subject);
  }

  /** Adds a permanent neighbour, or replaces it. */
  addNeighbor(entry: NeighborEntry, subject: string): void {
    const payload = concat([
      neighborHeader(entry.index, entry.address),
      attribute(NDA.DST, entry.address),
      attribute(NDA.LLADDR, entry.mac),
    ]);
    this.#netlink.change(RTM.NEWNEIGH, NLM_F.CREATE | NLM_F.REPLACE, payload, 'add neighbour', subject);
  }

  deleteNeighbor(index: number, address: Uint8Array, subject: string): void {
    const payload = concat([neighborHeader(index, address), attribute(NDA.DST, address)]);
    this.#netlink.change(RTM.DELNEIGH, 0, payload, 'delete neighbour', subject);
  }

  /** Permanent neighbours. */
  neighbors(): NeighborEntry[] {
    const messages = this.#netlink.dump(RTM.GETNEIGH, new Uint8Array(12), 'list neighbours');
    return messages.flatMap(({ type, payload }) => (type === RTM.NEWNEIGH ? parseNeighbor(payload) : []));
  }

  #create(payload: Uint8Array, name: string): void {
    this.#netlink.change(RTM.NEWLINK, NLM_F.CREATE | NLM_F.EXCL, payload, 'create network link', name);
  }
}

/** struct ndmsg. */
function neighborHeader(index: number, address: Uint8Array): Uint8Array {
  const header = new Uint8Array(12);
  const view = viewOf(header);
  view.setUint8(0, familyOf(address));
  view.setInt32(4, index, true);
  view.setUint16(8, NUD_PERMANENT, true);
  return header;
}

function routePayload(route: RouteEntry): Uint8Array {
  const header = new Uint8Array(12);
  header[0] = route.family === 4 ? AF.INET : AF.INET6;
  header[1] = route.destination?.prefix ?? 0;
  header[4] = RT_TABLE_MAIN;
  header[5] = RTPROT_BOOT;
  header[6] = route.scope ?? 0;
  header[7] = RTN_UNICAST;
  if (route.onlink === true) viewOf(header).setUint32(8, RTNH_F_ONLINK, true);
  const parts: Uint8Array[] = [header];
  if (route.destination !== undefined) parts.push(attribute(RTA.DST, route.destination.address));
  if (route.gateway !== undefined) parts.push(attribute(RTA.GATEWAY, route.gateway));
  if (route.index !== undefined) parts.push(attribute(RTA.OIF, route.index));
  if (route.source !== undefined) parts.push(attribute(RTA.PREFSRC, route.source));
  if (route.metric !== undefined && route.metric !== 0) parts.push(attribute(RTA.PRIORITY, route.metric));
  if (route.mtu !== undefined) parts.push(nested(RTA.METRICS, attribute(RTAX_MTU, route.mtu)));
  return concat(parts);
}

function word(bytes: Uint8Array | undefined): number | undefined {
  return bytes === undefined || bytes.length < 4 ? undefined : viewOf(bytes).getUint32(0, true);
}

function parseLink(payload: Uint8Array): Link {
  const view = viewOf(payload);
  const attributes = parseAttributes(payload.subarray(16));
  const info = parseAttributes(attributes.get(IFLA.LINKINFO) ?? new Uint8Array(0));
  const stats = attributes.get(IFLA.STATS64);
  return {
    index: view.getInt32(4, true),
    flags: view.getUint32(8, true),
    name: cString(attributes.get(IFLA.IFNAME) ?? new Uint8Array(0)),
    mac: attributes.get(IFLA.ADDRESS) ?? new Uint8Array(0),
    mtu: word(attributes.get(IFLA.MTU)) ?? 0,
    kind: cString(info.get(IFLA_INFO.KIND) ?? new Uint8Array(0)),
    type: view.getUint16(2, true),
    master: word(attributes.get(IFLA.MASTER)) ?? 0,
    stats: stats === undefined || stats.length < 64 ? undefined : parseStats(stats),
  };
}

function parseStats(bytes: Uint8Array): LinkStats {
  const view = viewOf(bytes);
  const counter = (position: number): bigint => view.getBigUint64(position * 8, true);
  return {
    rxPackets: counter(0),
    txPackets: counter(1),
    rxBytes: counter(2),
    txBytes: counter(3),
    rxErrors: counter(4),
    txErrors: counter(5),
    rxDropped: counter(6),
    txDropped: counter(7),
  };
}

function parseAddress(payload: Uint8Array): LinkAddress[] {
  const attributes = parseAttributes(payload.subarray(8));
  const address = attributes.get(IFA.LOCAL) ?? attributes.get(IFA.ADDRESS);
  if (address === undefined) return [];
  const [, prefix = 0, flagsByte = 0, scope = 0] = payload;
  const flags = word(attributes.get(IFA.FLAGS)) ?? flagsByte;
  return [{ index: viewOf(payload).getUint32(4, true), address, prefix, scope, flags }];
}

function parseRoute(payload: Uint8Array): KnownRoute[] {
  const [family, prefix = 0, , , tableByte = 0, protocol = 0, scope = 0, type] = payload;
  if (type !== RTN_UNICAST || (family !== AF.INET && family !== AF.INET6)) return [];
  const attributes = parseAttributes(payload.subarray(12));
  const address = attributes.get(RTA.DST);
  const gateway = attributes.get(RTA.GATEWAY);
  const source = attributes.get(RTA.PREFSRC);
  const index = word(attributes.get(RTA.OIF));
  const mtu = word(parseAttributes(attributes.get(RTA.METRICS) ?? new Uint8Array(0)).get(RTAX_MTU));
  return [
    {
      family: family === AF.INET ? 4 : 6,
      ...(address === undefined ? {} : { destination: { address, prefix } }),
      ...(gateway === undefined ? {} : { gateway }),
      ...(source === undefined ? {} : { source }),
      ...(index === undefined ? {} : { index }),
      scope,
      metric: word(attributes.get(RTA.PRIORITY)) ?? 0,
      ...(mtu === undefined ? {} : { mtu }),
      onlink: (viewOf(payload).getUint32(8, true) & RTNH_F_ONLINK) !== 0,
      table: word(attributes.get(RTA.TABLE)) ?? tableByte,
      protocol,
    },
  ];
}

function parseNeighbor(payload: Uint8Array): NeighborEntry[] {
  const view = viewOf(payload);
  const attributes = parseAttributes(payload.subarray(12));
  const address = attributes.get(NDA.DST);
  const mac = attributes.get(NDA.LLADDR);
  if (address === undefined || mac === undefined || view.getUint16(8, true) !== NUD_PERMANENT) return [];
  return [{ index: view.getInt32(4, true), address, mac }];
}
