/**
 * Where a guest on the user-mode network may go by default: wherever the host could, but not to the host itself and not
 * to link-local services, of which a cloud's metadata service hands out the host's credentials. The native helper
 * enforces it in the kernel, outside of the program whose sockets they are.
 */
import { networkInterfaces } from 'node:os';

/** Never reachable unless allowed by name. */
const DENIED: readonly string[] = [
  // "This host", which Linux takes for the loopback interface.
  '0.0.0.0/8',
  '127.0.0.0/8',
  // Link-local, with the metadata services of clouds; the last is AWS' over IPv6.
  '169.254.0.0/16',
  'fe80::/10',
  'fd00:ec2::254/128',
  // Multicast and broadcast come back to listeners on the host.
  '224.0.0.0/4',
  '255.255.255.255/32',
  'ff00::/8',
  '::/128',
  '::1/128',
  // IPv4 in IPv6 clothes would pass by the rules above.
  '::ffff:0:0/96',
];

/** The rules in the helper's terms. */
export interface EgressPolicy {
  readonly deniedDestinations: readonly string[];
  readonly allowedDestinations: readonly string[];
  readonly allowedResolvers: readonly string[];
  /** Also addresses that the host gets later. */
  readonly denyHost: true;
}

/** `allowed`: ranges in CIDR form that are reachable although a rule above or the host's ownership says otherwise. */
export function egressPolicy(allowed: readonly string[], resolvers: readonly string[]): EgressPolicy {
  return {
    deniedDestinations: [...DENIED, ...hostAddresses()],
    allowedDestinations: allowed,
    allowedResolvers: resolvers,
    denyHost: true,
  };
}

/** Addresses that the host has now: known ones are refused at once, later ones by their route. */
function hostAddresses(): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((entries) => entries ?? []);
  return addresses.map(({ address, family }) => `${address}/${family === 'IPv4' ? 32 : 128}`);
}
