/** The name servers of a guest: those that were asked for, or the host's in a form that works from inside. */
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { type Families, INET4, INET6 } from './addressing.ts';

/** The second is what systemd-resolved asks, when the first names only its stub on the loopback interface. */
const RESOLV_CONF = '/etc/resolv.conf';
const RESOLVED_CONF = '/run/systemd/resolve/resolv.conf';
/** As many as a resolver library reads. */
const MAX_RESOLVERS = 3;

/** What the guest and its network are told. */
export interface Resolvers {
  /** For the guest's /etc/resolv.conf. */
  readonly guest: readonly string[];
  /** Addresses of the host's side whose port 53 the guest may reach even if they are the host's own. */
  readonly host: readonly string[];
  /** A resolver that only the host can reach: the guest's `resolver` address is mapped to it. */
  readonly forwarded?: string;
}

/** Chooses. `asked`: servers that the user named; they are taken as they are. */
export async function chooseResolvers(asked: readonly string[], families: Families): Promise<Resolvers> {
  if (asked.length > 0) return { guest: asked, host: [] };
  const first = parseResolvConf(await readFile(RESOLV_CONF, 'utf8').catch(() => ''));
  const stubOnly = first.length > 0 && first.every(isLoopback);
  const second = stubOnly ? parseResolvConf(await readFile(RESOLVED_CONF, 'utf8').catch(() => '')) : [];
  return resolversOf(second.length > 0 ? second : first, families);
}

/** The choice among the host's servers. Pure. */
export function resolversOf(servers: readonly string[], families: Families): Resolvers {
  const usable = servers.filter((server) => (isIP(server) === 4 ? families.inet4 : families.inet6));
  const direct = usable.filter((server) => !isLoopback(server)).slice(0, MAX_RESOLVERS);
  if (direct.length > 0) return { guest: direct, host: direct };
  const [forwarded] = usable;
  if (forwarded === undefined) return { guest: [], host: [] };
  const guest = isIP(forwarded) === 4 ? INET4.resolver : INET6.resolver;
  return { guest: [guest], host: [forwarded], forwarded };
}

/** Addresses of `nameserver` lines; link-local ones mean nothing to others and are left out. */
export function parseResolvConf(text: string): string[] {
  const servers: string[] = [];
  for (const line of text.split('\n')) {
    const server = /^\s*nameserver\s+(\S+)/.exec(line)?.[1];
    if (server !== undefined && isIP(server) !== 0 && !/^fe[89ab]/i.test(server)) servers.push(server);
  }
  return servers;
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1' || address === '0.0.0.0' || address === '::';
}
