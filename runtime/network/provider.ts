/**
 * The networks of sandboxes: none, or user-mode by passt, and published ports with either. Opened before the machine
 * boots, so that a taken port or a missing program costs no boot.
 */
import { access, constants } from 'node:fs/promises';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { Scope } from '../../agent/protocol/scope.ts';
import type { Keeper } from '../helper-client/keeper.ts';
import { programFiles } from '../helper-client/libraries.ts';
import type { Logger } from '../host/log.ts';
import type { NetworkOptions } from '../sandbox/config.ts';
import type { DialGuest, NetworkProvider, OpenNetwork } from '../sandbox/network.ts';
import { type Families, GUEST_MAC, guestAddresses, guestNetwork, INET4, INET6 } from './addressing.ts';
import { egressPolicy } from './egress-policy.ts';
import { hostFamilies } from './host-routes.ts';
import { PASST, passtRequest } from './passt.ts';
import { PublishedPorts } from './publish.ts';
import { chooseResolvers, type Resolvers } from './resolvers.ts';

const PASST_PATHS = ['/usr/bin/passt', '/usr/local/bin/passt', '/usr/sbin/passt'];
const SPAWN_TIMEOUT_MS = 20_000;
const CALL_TIMEOUT_MS = 5_000;
const SIGKILL = 9;

/** What networks are made with. */
export interface NetworkProviderParts {
  /** The sandbox's keeper, running. */
  readonly keeper: () => Promise<Keeper>;
  /** Range of user ids; passt gets one of its own. */
  readonly users: { readonly first: number; readonly count: number };
  /** Directory for kept library lists, writable for root only. */
  readonly cacheDirectory: string;
  /** Ranges in CIDR form that guests may reach beyond the default. */
  readonly allowedDestinations: readonly string[];
  readonly log: Logger;
}

/** Makes networks for one sandbox. */
export function createNetworkProvider(parts: NetworkProviderParts): NetworkProvider {
  return { open: (options) => openNetwork(parts, options) };
}

async function openNetwork(parts: NetworkProviderParts, options: NetworkOptions): Promise<OpenNetwork> {
  const scope = new Scope();
  try {
    const ports = await PublishedPorts.open(options.publish);
    scope.add(() => ports.close());
    const user = options.mode === 'user' ? await openUserNetwork(parts, options, scope) : undefined;
    const families = user?.families ?? { inet4: false, inet6: false };
    return {
      ...(user === undefined ? {} : { nic: user.nic }),
      config: user === undefined ? {} : guestNetwork(families),
      addresses: guestAddresses(families),
      nameServers: user?.resolvers.guest ?? [],
      connect: async (dial) => {
        user?.requireAlive();
        ports.start((port) => dialPort(dial, port, families));
      },
      close: async () => {
        await scope.close();
      },
    };
  } catch (error) {
    await scope.close();
    throw error;
  }
}

/** A server may listen on the loopback address alone, or on the outer one alone. */
async function dialPort(dial: DialGuest, port: number, families: Families): ReturnType<DialGuest> {
  const hosts = ['127.0.0.1', ...(families.inet4 ? [INET4.guest] : []), '[::1]'];
  if (families.inet6) hosts.push(`[${INET6.guest}]`);
  let refusal: unknown;
  for (const host of hosts) {
    try {
      return await dial('tcp', `${host}:${port}`);
    } catch (error) {
      refusal = error;
    }
  }
  throw refusal;
}

interface UserNetwork {
  readonly nic: NonNullable<OpenNetwork['nic']>;
  readonly families: Families;
  readonly resolvers: Resolvers;
  /** Throws when passt has ended: it says nothing when it is ready, so one that failed at its start shows here. */
  requireAlive(): void;
}

async function openUserNetwork(
  parts: NetworkProviderParts,
  options: NetworkOptions,
  scope: Scope,
): Promise<UserNetwork> {
  const families = await hostFamilies();
  if (!families.inet4 && !families.inet6) {
    throw new TskataError(
      Code.FailedPrecondition,
      'open the user network: this host has no default route - give it one, or use --network none',
    );
  }
  const executable = await findPasst();
  const resolvers = await chooseResolvers(options.nameServers, families);
  // Passt replaces itself by the variant for the CPU, when that is installed.
  const variant = `${executable}.avx2`;
  const programs = (await isExecutable(variant)) ? [executable, variant] : [executable];
  const [files, keeper] = await Promise.all([programFiles(programs, parts.cacheDirectory), parts.keeper()]);
  const { uid } = await keeper.call.claimUser(parts.users, { timeoutMs: CALL_TIMEOUT_MS });
  const policy = egressPolicy(parts.allowedDestinations, resolvers.host);
  const request = passtRequest({ executable, files, uid, families, forwarded: resolvers.forwarded, policy });
  await keeper.call.spawn(request, { timeoutMs: SPAWN_TIMEOUT_MS });
  let closing = false;
  let status: number | undefined;
  const ended = keeper.call.wait({ name: PASST }, { timeoutMs: 0 }).then(
    ({ exitStatus }) => {
      status = exitStatus;
      if (!closing) parts.log.warn('the user network ended', { exitStatus });
    },
    // The keeper is gone, and passt with it.
    () => undefined,
  );
  scope.add(async () => {
    closing = true;
    await keeper.call.signal({ name: PASST, signal: SIGKILL }, { timeoutMs: CALL_TIMEOUT_MS }).catch(() => undefined);
    await ended;
  });
  const { guest: address, gateway } = families.inet4 ? INET4 : INET6;
  return {
    nic: { mac: GUEST_MAC, backend: { type: 'passt', address, gateway, dns: resolvers.guest } },
    families,
    resolvers,
    requireAlive: () => {
      if (status === undefined) return;
      throw new TskataError(
        Code.Unavailable,
        `open the user network: passt ended with status ${status} - see the shim's log`,
      );
    },
  };
}

async function findPasst(): Promise<string> {
  for (const path of PASST_PATHS) if (await isExecutable(path)) return path;
  throw new TskataError(
    Code.FailedPrecondition,
    'open the user network: passt is not installed - install the package passt, or use --network none',
  );
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
