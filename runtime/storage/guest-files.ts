/**
 * Owns the text of the files that a container gets from its network: /etc/hosts, /etc/hostname, /etc/resolv.conf.
 * Refuses to know where their values come from.
 */
import type { GuestFile } from '../../agent/protocol/generated/agent.ts';
import type { Init } from '../../agent/protocol/message.ts';

/** What the files say. */
export interface GuestNames {
  readonly hostname: string;
  /** Addresses of the container's own name, without prefix length. */
  readonly addresses: readonly string[];
  readonly nameServers: readonly string[];
}

const READABLE = 0o644;

/** The files, but for destinations in `taken`, which the configuration mounts itself. */
export function guestFiles(names: GuestNames, taken: ReadonlySet<string>): Init<GuestFile>[] {
  const files: [string, string][] = [
    ['/etc/hostname', names.hostname === '' ? '' : `${names.hostname}\n`],
    ['/etc/hosts', hosts(names)],
    ['/etc/resolv.conf', names.nameServers.map((server) => `nameserver ${server}\n`).join('')],
  ];
  return files
    .filter(([destination, text]) => text !== '' && !taken.has(destination))
    .map(([destination, text]) => ({ destination, content: new TextEncoder().encode(text), mode: READABLE }));
}

function hosts(names: GuestNames): string {
  const lines = ['127.0.0.1\tlocalhost', '::1\tlocalhost ip6-localhost ip6-loopback', 'fe00::0\tip6-localnet'];
  const own = names.addresses.length > 0 ? names.addresses : ['127.0.1.1'];
  if (names.hostname !== '') lines.push(...own.map((address) => `${address}\t${names.hostname}`));
  return `${lines.join('\n')}\n`;
}
