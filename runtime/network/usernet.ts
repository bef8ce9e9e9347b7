/**
 * The user-mode network as a confined program: its arguments and its jail. It has the host's network namespace, because
 * it is the host's side of every connection, and nothing else of the host.
 */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SpawnRequest } from '../../agent/protocol/generated/helper.ts';
import type { Init } from '../../agent/protocol/message.ts';
import type { ProgramFile } from '../helper-client/libraries.ts';
import { type Families, INET4, INET6, MTU } from './addressing.ts';
import type { EgressPolicy } from './egress-policy.ts';

/** Name among the keeper's processes, and of the socket pair whose other end QEMU gets. */
export const USERNET = 'usernet';

/** The socket to QEMU. */
const SOCKET_FD = 3;
/** One for each connection and each UDP port of the guest; the latter are kept for four minutes after their last use. */
/**
 * It needs none beside itself, but the kernel counts a user's processes on the whole machine, and a sandbox of another
 * run root may have the same user.
 */
const MAX_PROCESSES = 1024n;
const MAX_OPEN_FILES = 16_384n;
/** Buffers of as many connections; a guest that wants more loses its network, not the host its memory. */
const MAX_ADDRESS_SPACE_BYTES = 4n * 1024n ** 3n;

/** What one program is started with. */
export interface UsernetInput {
  readonly executable: string;
  readonly files: readonly ProgramFile[];
  readonly uid: number;
  readonly families: Families;
  /** File that names the resolver to which the guest's resolver address is mapped. */
  readonly resolverFile: string | undefined;
  readonly policy: EgressPolicy;
}

/** Arguments after the program's name. The guest is configured by its agent: nothing is announced to it. */
export function usernetArgs(families: Families, forward: boolean): string[] {
  const args = ['--fd', String(SOCKET_FD), '--mtu', String(MTU)];
  if (families.inet4) {
    args.push('--inet4', [INET4.network, INET4.mask, INET4.guest, INET4.gateway, INET4.resolver].join(','));
  }
  if (families.inet6) args.push('--inet6', [INET6.network, INET6.prefix, INET6.gateway, INET6.resolver].join(','));
  if (forward) args.push('--forward-resolver');
  return args;
}

/** Writes the file from which the program learns its resolver, below a directory that is root's alone. */
export async function writeResolverFile(directory: string, resolver: string): Promise<string> {
  const path = join(directory, `resolver-${resolver.replaceAll(':', '_')}.conf`);
  const temporary = `${path}.${process.pid}`;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  // Its reader has a user of its own, and sees the file by a bind.
  await writeFile(temporary, `nameserver ${resolver}\n`, { mode: 0o644 });
  await rename(temporary, path);
  return path;
}

/** The request to the keeper. */
export function usernetRequest(input: UsernetInput): Init<SpawnRequest> {
  const { executable, files, uid, policy, resolverFile } = input;
  const resolver =
    resolverFile === undefined ? [] : [{ source: resolverFile, target: '/etc/resolv.conf', readOnly: true }];
  return {
    name: USERNET,
    executable,
    argv: [executable, ...usernetArgs(input.families, resolverFile !== undefined)],
    env: [],
    descriptors: [{ pair: USERNET }],
    jail: {
      uid,
      gid: uid,
      binds: [
        ...files.map(({ source, target }) => ({ source, target, readOnly: true, executable: true })),
        ...resolver,
      ],
      newPidNamespace: true,
      network: 'host',
      noNewPrivileges: true,
      rlimits: [
        { type: 'RLIMIT_CORE', soft: 0n, hard: 0n },
        { type: 'RLIMIT_NOFILE', soft: MAX_OPEN_FILES, hard: MAX_OPEN_FILES },
        { type: 'RLIMIT_AS', soft: MAX_ADDRESS_SPACE_BYTES, hard: MAX_ADDRESS_SPACE_BYTES },
        { type: 'RLIMIT_NPROC', soft: MAX_PROCESSES, hard: MAX_PROCESSES },
      ],
      ...policy,
    },
  };
}
