/**
 * Owns the choice of a sandbox's network. Refuses to know packets.
 */
import type { Logger } from '../runtime/host/log.ts';
import { createNetworkProvider } from '../runtime/network/provider.ts';
import type { NetworkProvider } from '../runtime/sandbox/network.ts';
import { SANDBOX_USERS, type SandboxKeeper } from './keeper.ts';

/** `cacheDirectory`: where lists of a program's libraries are kept. */
export function createNetworks(keeper: SandboxKeeper, cacheDirectory: string, log: Logger): NetworkProvider {
  return createNetworkProvider({
    keeper: () => keeper.keeper(),
    users: SANDBOX_USERS,
    cacheDirectory,
    allowedDestinations: [],
    log,
  });
}
