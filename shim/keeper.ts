/**
 * Owns the one keeper of a sandbox: started when first needed, started anew after its machine has ended with it. Gives
 * its mounts and its place for programs to those who need them. Refuses to know what they are for.
 */
import { Code, TskataError } from '../agent/protocol/errors.ts';
import { type Keeper, startKeeper } from '../runtime/helper-client/keeper.ts';
import { keeperProcessHost } from '../runtime/helper-client/process-host.ts';
import type { Logger } from '../runtime/host/log.ts';
import type { HostMounts } from '../runtime/storage/share-tree.ts';
import { INHERITED, type ProcessHost } from '../runtime/vm/process-host.ts';

const CALL = { timeoutMs: 10_000 };
/** Range of users; a sandbox takes one for its machine and one for its network. */
export const SANDBOX_USERS = { first: 200_000, count: 65_536 };

/** What the keeper is started with. */
export interface KeeperSource {
  readonly helper: string;
  readonly runRoot: string;
  readonly log: Logger;
}

interface Running {
  readonly keeper: Keeper;
  readonly uid: number;
}

export class SandboxKeeper {
  readonly #source: KeeperSource;
  #running: Promise<Running> | undefined;
  #pid: number | undefined;

  constructor(source: KeeperSource) {
    this.#source = source;
  }

  /** Host process number of the keeper that runs now. */
  get pid(): number | undefined {
    return this.#pid;
  }

  /** The keeper, started when there is none. */
  async keeper(): Promise<Keeper> {
    return (await this.#ensure()).keeper;
  }

  /** Where the machine's programs run. */
  async processHost(): Promise<ProcessHost> {
    const { keeper, uid } = await this.#ensure();
    return keeperProcessHost(keeper, uid);
  }

  readonly mounts: HostMounts = {
    mount: async (request) => {
      const { keeper } = await this.#ensure();
      await keeper.call.mount(request, CALL);
    },
    unmount: async (target) => {
      if (this.#running === undefined) return;
      try {
        const { keeper } = await this.#running;
        await keeper.call.unmount({ target }, CALL);
      } catch (error) {
        // Its mounts ended with it.
        if (TskataError.from(error).code !== Code.Unavailable) throw error;
      }
    },
  };

  /** Ends the keeper and all its children. Idempotent. */
  async close(): Promise<void> {
    const running = await this.#running?.catch(() => undefined);
    await running?.keeper.close();
  }

  #ensure(): Promise<Running> {
    this.#running ??= this.#start();
    return this.#running;
  }

  async #start(): Promise<Running> {
    const { helper, runRoot, log } = this.#source;
    try {
      const keeper = await startKeeper({
        helper,
        runRoot,
        inherited: [...INHERITED],
        onLog: (line) => log.info('keeper', { line }),
      });
      this.#pid = keeper.pid;
      void keeper.ended.then((reason) => {
        this.#running = undefined;
        this.#pid = undefined;
        log.info('keeper ended', { reason });
      });
      const { uid } = await keeper.call.claimUser(SANDBOX_USERS, CALL);
      return { keeper, uid };
    } catch (error) {
      this.#running = undefined;
      throw error;
    }
  }
}
