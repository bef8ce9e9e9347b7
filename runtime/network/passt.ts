/**
 * passt as a confined program: its arguments and its jail. It has the host's network namespace, because it is the host's
 * side of every connection, and nothing else of the host.
 */
import type { SpawnRequest } from '../../agent/protocol/generated/helper.ts';
import type { Init } from '../../agent/protocol/message.ts';
import type { ProgramFile } from '../helper-client/libraries.ts';
import { type Families, GATEWAY_MAC, INET4, INET6, MTU } from './addressing.ts';
import type { EgressPolicy } from './egress-policy.ts';

/** Name among the keeper's processes, and of the socket pair whose other end QEMU gets. */
export const PASST = 'passt';

/** The socket to QEMU. */
const SOCKET_FD = 3;
/** One per connection of the guest, and passt's own. */
const MAX_OPEN_FILES = 65_536n;

/** What one passt is started with. */
export interface PasstInput {
  readonly executable: string;
  readonly files: readonly ProgramFile[];
  readonly uid: number;
  readonly families: Families;
  /** Resolver that the guest's resolver address is mapped to. */
  readonly forwarded: string | undefined;
  readonly policy: EgressPolicy;
}

/** Arguments after the program's name. The guest is configured by its agent: passt announces nothing. */
export function passtArgs(families: Families, forwarded: string | undefined): string[] {
  const args = ['--foreground', '--quiet', '--stderr', '--fd', String(SOCKET_FD), '--no-map-gw'];
  args.push('--tcp-ports', 'none', '--udp-ports', 'none', '--mtu', String(MTU), '--mac-addr', GATEWAY_MAC);
  args.push('--no-dhcp', '--no-dhcpv6', '--no-ra');
  if (families.inet4) {
    args.push('--address', INET4.guest, '--netmask', String(INET4.prefix), '--gateway', INET4.gateway);
  } else args.push('--ipv6-only');
  if (families.inet6) args.push('--address', INET6.guest, '--gateway', INET6.gateway);
  else args.push('--ipv4-only');
  if (forwarded === undefined) args.push('--dns', 'none');
  else {
    args.push('--dns', forwarded, '--dns-forward', forwarded.includes(':') ? INET6.resolver : INET4.resolver);
  }
  return args;
}

/** The request to the keeper. */
export function passtRequest(input: PasstInput): Init<SpawnRequest> {
  const { executable, files, uid, policy } = input;
  return {
    name: PASST,
    executable,
    argv: [executable, ...passtArgs(input.families, input.forwarded)],
    env: [],
    descriptors: [{ pair: PASST }],
    jail: {
      uid,
      gid: uid,
      binds: [
        ...files.map(({ source, target }) => ({ source, target, readOnly: true, executable: true })),
        { source: '/dev/null', target: '/dev/null', device: true },
        // Used for hash keys; without it passt falls back to what is predictable.
        { source: '/dev/urandom', target: '/dev/urandom', device: true },
      ],
      newPidNamespace: true,
      network: 'host',
      noNewPrivileges: true,
      // It looks itself up to choose a variant for the CPU, and changes its root to an empty file system on /tmp.
      proc: true,
      directories: ['/tmp'],
      rlimits: [
        { type: 'RLIMIT_CORE', soft: 0n, hard: 0n },
        { type: 'RLIMIT_NOFILE', soft: MAX_OPEN_FILES, hard: MAX_OPEN_FILES },
        { type: 'RLIMIT_NPROC', soft: 8n, hard: 8n },
      ],
      ...policy,
    },
  };
}
