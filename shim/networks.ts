/**
 * Owns the choice of a sandbox's network. Refuses to know packets.
 */
import type { Logger } from '../runtime/host/log.ts';
import { run } from '../runtime/host/process.ts';
import { createNetworkProvider } from '../runtime/network/provider.ts';
import type { NetworkProvider } from '../runtime/sandbox/network.ts';
import type { SandboxKeeper } from './keeper.ts';

/** Giving a namespace back takes some calls of the kernel. */
const RELEASE_TIMEOUT_MS = 5_000;

/** What networks are made with. */
interface NetworkSettings {
  /** Path of the native helper. */
  readonly helper: string;
  /** The program of the user-mode network. */
  readonly program: string;
  /** Where lists of a program's libraries are kept. */
  readonly cacheDirectory: string;
  /** Ranges that guests may reach beyond the default. */
  readonly allowedDestinations: readonly string[];
  readonly log: Logger;
}

export function createNetworks(keeper: SandboxKeeper, settings: NetworkSettings): NetworkProvider {
  const { helper, ...others } = settings;
  return createNetworkProvider({
    keeper: () => keeper.keeper(),
    users: keeper.users,
    releaseNetwork: async (path) => {
      await run(helper, ['release-network', path], { timeoutMs: RELEASE_TIMEOUT_MS });
    },
    ...others,
  });
}
