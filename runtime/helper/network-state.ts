/**
 * What is in a network namespace, as the message that the shim gets: addresses as text, nothing left out that could
 * matter to it. It judges nothing: what a machine can have is decided in runtime/network.
 */
import type { NetworkState } from '../../agent/protocol/generated/helper.ts';
import type { Init } from '../../agent/protocol/message.ts';
import { formatIp, formatMac } from '../../agent/sys/ip.ts';
import type { KnownRoute, RouteSocket } from '../../agent/sys/rtnetlink.ts';

/** Asks the kernel. Four dumps: what changes in between is told by the monitor. */
export function readNetworkState(routes: RouteSocket): Init<NetworkState> {
  return {
    links: routes.links().map(({ index, name, mac, mtu, flags, type, kind, master }) => {
      return { index, name, mac: formatMac(mac), mtu, flags, type, kind, master };
    }),
    addresses: routes.addresses().map(({ index, address, prefix, scope, flags = 0 }) => {
      return { index, address: `${formatIp(address)}/${prefix}`, scope, flags };
    }),
    routes: routes.routes().map(routeMessage),
    neighbors: routes.neighbors().map(({ index, address, mac }) => {
      return { index, address: formatIp(address), mac: formatMac(mac) };
    }),
  };
}

function routeMessage(route: KnownRoute): NonNullable<Init<NetworkState>['routes']>[number] {
  const { destination, gateway, source } = route;
  return {
    family: route.family,
    destination: destination === undefined ? '' : `${formatIp(destination.address)}/${destination.prefix}`,
    gateway: gateway === undefined ? '' : formatIp(gateway),
    index: route.index ?? 0,
    source: source === undefined ? '' : formatIp(source),
    scope: route.scope ?? 0,
    metric: route.metric ?? 0,
    mtu: route.mtu ?? 0,
    onlink: route.onlink ?? false,
    table: route.table,
    protocol: route.protocol,
  };
}
