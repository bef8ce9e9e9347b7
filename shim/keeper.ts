/**
 * Owns the one keeper of a sandbox: started when first needed, started anew after its machine has ended with it. Gives
 * its mounts and its place for programs to those who need them. Refuses to know what they are for.
 */
import { Code, TskataError } from '../agent/protocol/errors.ts';
import { type Keeper, startKeeper } from '../runtime/helper-client/keeper.ts';
import { keeperProcessHost, startStandIn } from '../runtime/helper-client/process-host.ts';
import type { Logger } from '../runtime/host/log.ts';
import type { StartStandIn } from '../runtime/sandbox/stand-in.ts';
import type { HostMounts } from '../runtime/storage/share-tree.ts';
import { INHERITED, type ProcessHost } from '../runtime/vm/process-host.ts';

const CALL = { timeoutMs: 10_000 };
const SIGKILL = 9;

/** What the keeper is started with. */
export interface KeeperSource {
  readonly helper: string;
  readonly runRoot: string;
  /** Range of user ids; a sandbox takes one for its machine and one for its network. */
  readonly users: { readonly first: number; readonly count: number };
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
  #standIns = 0;

  constructor(source: KeeperSource) {
    this.#source = source;
  }

  get users(): KeeperSource['users'] {
    return this.#source.users;
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

  /** Starts a stand-in for a container. */
  readonly startStandIn: StartStandIn = async (containerId, networkPath) => {
    const { keeper } = await this.#ensure();
    this.#standIns += 1;
    const child = await startStandIn(keeper, `stand-in-${this.#standIns}`, containerId, networkPath);
    let asked = false;
    // -1: the keeper has ended, and everything with it.
    const ended = child.exited.then((status) => !asked && status >= 0);
    return {
      pid: child.pid,
      ended,
      end: async () => {
        asked = true;
        await child.signal(SIGKILL).catch((error: unknown) => {
          this.#source.log.warn('stand-in not ended', { container: containerId, error: String(error) });
        });
        await ended;
      },
    };
  };

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
      const { uid } = await keeper.call.claimUser(this.users, CALL);
      return { keeper, uid };
    } catch (error) {
      this.#running = undefined;
      throw error;
    }
  }
}
