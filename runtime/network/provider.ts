/**
 * The networks of sandboxes: none, user-mode, or a pod's namespace, and published ports with each. Opened before
 * the machine boots, so that a taken port or a missing program costs no boot.
 */
import { access, constants } from 'node:fs/promises';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { Scope } from '../../agent/protocol/scope.ts';
import type { Keeper } from '../helper-client/keeper.ts';
import { programFiles } from '../helper-client/libraries.ts';
import type { Logger } from '../host/log.ts';
import type { NetworkOptions } from '../sandbox/config.ts';
import type { DialGuest, NetworkProvider, OpenNetwork } from '../sandbox/network.ts';
import type { NicConfig } from '../vm/vm.ts';
import { type Families, GUEST_MAC, guestAddresses, guestNetwork, INET4, INET6 } from './addressing.ts';
import { egressPolicy } from './egress-policy.ts';
import { hostFamilies } from './host-routes.ts';
import { PodNetwork } from './pod-network.ts';
import { PublishedPorts } from './publish.ts';
import { chooseResolvers, type Resolvers } from './resolvers.ts';
import { USERNET, usernetRequest, writeResolverFile } from './usernet.ts';

const SPAWN_TIMEOUT_MS = 20_000;
const CALL_TIMEOUT_MS = 5_000;
const SIGKILL = 9;

/** What networks are made with. */
export interface NetworkProviderParts {
  /** The sandbox's keeper, running. */
  readonly keeper: () => Promise<Keeper>;
  /** The program of the user-mode network. */
  readonly program: string;
  /** Range of user ids; that program gets one of its own. */
  readonly users: { readonly first: number; readonly count: number };
  /** Directory for kept library lists, writable for root only. */
  readonly cacheDirectory: string;
  /** Ranges in CIDR form that guests may reach beyond the default. */
  readonly allowedDestinations: readonly string[];
  /** Gives back what a killed keeper left in the namespace of this path. */
  readonly releaseNetwork: (path: string) => Promise<void>;
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
    if (options.mode === 'netns') return await podNetwork(parts, options.path ?? '', ports, scope);
    const user = options.mode === 'user' ? await openUserNetwork(parts, options, scope) : undefined;
    const families = user?.families ?? { inet4: false, inet6: false };
    return {
      nics: user === undefined ? [] : [user.nic],
      config: user === undefined ? {} : guestNetwork(families),
      addresses: guestAddresses(families),
      nameServers: user?.resolvers.guest ?? [],
      connect: async ({ dial }) => {
        user?.requireAlive();
        ports.start((port) => dialPort(dial, port, guestAddresses(families)));
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

async function podNetwork(
  parts: NetworkProviderParts,
  path: string,
  ports: PublishedPorts,
  scope: Scope,
): Promise<OpenNetwork> {
  const { releaseNetwork: release, log } = parts;
  const pod = await PodNetwork.open({ keeper: await parts.keeper(), path, release, log }, scope);
  return {
    nics: pod.nics,
    config: pod.config,
    addresses: pod.addresses,
    // Those of the pod come as a mounted file.
    nameServers: [],
    connect: (guest) => {
      pod.connect(guest);
      ports.start((port) => dialPort(guest.dial, port, pod.addresses));
      return Promise.resolve();
    },
    close: async () => {
      await scope.close();
    },
  };
}

/** A server may listen on the loopback address alone, or on the outer one alone. */
async function dialPort(dial: DialGuest, port: number, addresses: readonly string[]): ReturnType<DialGuest> {
  const four = addresses.filter((address) => !address.includes(':'));
  const six = addresses.filter((address) => address.includes(':'));
  const hosts = ['127.0.0.1', ...four, ...['::1', ...six].map((address) => `[${address}]`)];
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
  readonly nic: NicConfig;
  readonly families: Families;
  readonly resolvers: Resolvers;
  /** Throws when the program has ended: it says nothing when it is ready, so one that failed at its start shows here. */
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
  const executable = await requireProgram(parts.program);
  const resolvers = await chooseResolvers(options.nameServers, families);
  const { forwarded } = resolvers;
  const resolverFile = forwarded === undefined ? undefined : await writeResolverFile(parts.cacheDirectory, forwarded);
  const [files, keeper] = await Promise.all([programFiles([executable], parts.cacheDirectory), parts.keeper()]);
  const { uid } = await keeper.call.claimUser(parts.users, { timeoutMs: CALL_TIMEOUT_MS });
  const policy = egressPolicy(parts.allowedDestinations, resolvers.host);
  const request = usernetRequest({ executable, files, uid, families, resolverFile, policy });
  await keeper.call.spawn(request, { timeoutMs: SPAWN_TIMEOUT_MS });
  let closing = false;
  let status: number | undefined;
  const ended = keeper.call.wait({ name: USERNET }, { timeoutMs: 0 }).then(
    ({ exitStatus }) => {
      status = exitStatus;
      if (!closing) parts.log.warn('the user network ended', { exitStatus });
    },
    // The keeper is gone, and the program with it.
    () => undefined,
  );
  scope.add(async () => {
    closing = true;
    await keeper.call.signal({ name: USERNET, signal: SIGKILL }, { timeoutMs: CALL_TIMEOUT_MS }).catch(() => undefined);
    await ended;
  });
  const { guest: address, gateway } = families.inet4 ? INET4 : INET6;
  return {
    nic: { mac: GUEST_MAC, backend: { type: 'user', address, gateway, dns: resolvers.guest } },
    families,
    resolvers,
    requireAlive: () => {
      if (status === undefined) return;
      throw new TskataError(
        Code.Unavailable,
        `open the user network: its program ended with status ${status} - see the shim's log`,
      );
    },
  };
}

async function requireProgram(path: string): Promise<string> {
  try {
    await access(path, constants.X_OK);
    return path;
  } catch {
    throw new TskataError(
      Code.FailedPrecondition,
      `open the user network: its program ${path} is missing - build and install tskata again, or use --network none`,
    );
  }
}
