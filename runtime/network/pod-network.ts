/**
 * The network of a pod: what a CNI plugin made in a namespace of the host, carried into the machine, and followed as long
 * as the machine lives. The keeper does what takes the kernel; this file says what, in which order, and what is undone.
 */
import { setTimeout } from 'node:timers/promises';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Scope } from '../../agent/protocol/scope.ts';
import type { Keeper } from '../helper-client/keeper.ts';
import type { Logger } from '../host/log.ts';
import type { NetworkGuest, OpenNetwork } from '../sandbox/network.ts';
import type { NicConfig } from '../vm/vm.ts';
import { LoopbackForwarder } from './loopback.ts';
import { guestConfig, type PodInterface, type PodPlan, planPod } from './pod-plan.ts';

const CALL = { timeoutMs: 10_000 };
/** Before each attempt to carry a change: what a guest refuses for a moment it takes a little later. */
const ATTEMPT_DELAYS_MS = [0, 1_000, 3_000];

/** What it is opened with. */
export interface PodNetworkParts {
  readonly keeper: Keeper;
  /** Path of the namespace; empty: a new one, which goes with the keeper. */
  readonly path: string;
  /** Gives back what a killed keeper left in the namespace. */
  readonly release: (path: string) => Promise<void>;
  readonly log: Logger;
}

/** What was made in the namespace. */
interface OpenedNamespace {
  readonly interfaces: readonly PodInterface[];
  readonly nics: readonly NicConfig[];
  readonly loopback: LoopbackForwarder | undefined;
}

export class PodNetwork {
  readonly nics: readonly NicConfig[];
  readonly #parts: PodNetworkParts;
  readonly #loopback: LoopbackForwarder | undefined;
  /** Interfaces that could not be carried, so that each is said once. */
  readonly #refused = new Set<string>();
  /** Those whose cards the guest has. */
  #carried: readonly PodInterface[];
  /** The configuration that the guest has taken, as JSON. */
  #configured: string;
  #closing = false;

  private constructor(parts: PodNetworkParts, opened: OpenedNamespace) {
    this.#parts = parts;
    this.nics = opened.nics;
    this.#loopback = opened.loopback;
    this.#carried = opened.interfaces;
    this.#configured = JSON.stringify(this.config);
  }

  /** Opens the namespace and makes a tap for each of its interfaces. `scope` gives everything back. */
  static async open(parts: PodNetworkParts, scope: Scope): Promise<PodNetwork> {
    const { keeper, path, log } = parts;
    await keeper.call.openNetwork({ path }, CALL);
    scope.add(() => closeNetwork(parts));
    const plan = planPod(await keeper.call.readNetwork({}, CALL));
    for (const phrase of plan.leftOut) log.warn('not carried into the guest', { what: phrase });
    const nics: NicConfig[] = [];
    for (const each of plan.interfaces) nics.push(await carry(keeper, each));
    const loopback = await openLoopback(parts);
    const network = new PodNetwork(parts, { interfaces: plan.interfaces, nics, loopback });
    scope.add(() => network.#close());
    return network;
  }

  /** What the agent configures. */
  get config(): OpenNetwork['config'] {
    return guestConfig(this.#carried);
  }

  /** Addresses of the guest without prefix length. */
  get addresses(): string[] {
    const addresses = this.#carried.flatMap(({ message }) => message.addresses ?? []);
    return addresses.map((address) => address.replace(/\/.*$/, ''));
  }

  /** The guest is up: begins to forward, and to follow changes. */
  connect(guest: NetworkGuest): void {
    this.#loopback?.start(guest.dial);
    void this.#follow(guest);
  }

  async #close(): Promise<void> {
    this.#closing = true;
    await this.#loopback?.close();
  }

  /** Never rejects. What still fails after the last attempt waits for the next change. */
  async #follow(guest: NetworkGuest): Promise<void> {
    while (await this.#changed()) {
      for (const delayMs of ATTEMPT_DELAYS_MS) {
        if (delayMs > 0) await setTimeout(delayMs, undefined, { ref: false });
        if (this.#closing || (await this.#carriesChange(guest))) break;
      }
    }
  }

  /** Brings the guest to what is in the namespace now. A failure is said. */
  async #carriesChange(guest: NetworkGuest): Promise<boolean> {
    const { keeper, log } = this.#parts;
    try {
      await this.#apply(planPod(await keeper.call.readNetwork({}, CALL)), guest);
      return true;
    } catch (error) {
      const { message } = TskataError.from(error);
      if (!this.#closing) log.warn('a change of the network was not carried into the guest', { error: message });
      return false;
    }
  }

  /** False when there will be no change any more. */
  async #changed(): Promise<boolean> {
    try {
      await this.#parts.keeper.call.waitNetworkChange({}, { timeoutMs: 0 });
      return !this.#closing;
    } catch {
      // The keeper has ended, and the machine with it.
      return false;
    }
  }

  /** Brings the guest to the plan: old cards first, because a new one may take the place of one. */
  async #apply(plan: PodPlan, guest: NetworkGuest): Promise<void> {
    const gone = this.#carried.filter((one) => !has(plan.interfaces, one));
    for (const one of gone) await this.#unplug(one, guest);
    for (const one of plan.interfaces) if (!has(this.#carried, one)) await this.#plug(one, guest);
    this.#carried = plan.interfaces.filter((one) => has(this.#carried, one));
    const { config } = this;
    const configured = JSON.stringify(config);
    if (configured === this.#configured) return;
    // Until the guest has taken it whole, it is unknown what it has.
    this.#configured = '';
    await guest.configure(config);
    this.#configured = configured;
  }

  /** A card that the guest cannot have is said once. */
  async #plug(one: PodInterface, guest: NetworkGuest): Promise<void> {
    const { keeper, log } = this.#parts;
    const key = `${one.index} ${one.mac}`;
    if (this.#refused.has(key)) return;
    try {
      const nic = await carry(keeper, one);
      await guest.attachNic(nic);
      this.#carried = [...this.#carried, one];
      log.info('network card plugged', { interface: one.name, mac: one.mac });
    } catch (error) {
      this.#refused.add(key);
      const { message } = TskataError.from(error);
      log.warn('not carried into the guest', { what: `interface ${one.name}: ${message}` });
      await keeper.call.dropInterface({ index: one.index }, CALL);
    }
  }

  /** A card that the guest does not let go of stays, and leads nowhere. */
  async #unplug(one: PodInterface, guest: NetworkGuest): Promise<void> {
    const { keeper, log } = this.#parts;
    this.#carried = this.#carried.filter((other) => other !== one);
    this.#configured = '';
    await keeper.call.dropInterface({ index: one.index }, CALL);
    try {
      await guest.detachNic(one.mac);
      log.info('network card unplugged', { interface: one.name, mac: one.mac });
    } catch (error) {
      log.warn('network card not unplugged', { interface: one.name, error: TskataError.from(error).message });
    }
  }
}

/** The same interface with the same hardware address; all else of it can change. */
function has(list: readonly PodInterface[], one: PodInterface): boolean {
  return list.some(({ index, mac }) => index === one.index && mac === one.mac);
}

async function carry(keeper: Keeper, { index, mac }: PodInterface): Promise<NicConfig> {
  const { tap } = await keeper.call.carryInterface({ index }, CALL);
  return { mac, backend: { type: 'tap', tap } };
}

/** A kernel that cannot choose listeners by eBPF costs the port-forward and nothing else. */
async function openLoopback({ keeper, log }: PodNetworkParts): Promise<LoopbackForwarder | undefined> {
  try {
    return await LoopbackForwarder.open(await keeper.listenLoopback());
  } catch (error) {
    log.warn('port-forward is not available: the loopback of the pod cannot be listened to', {
      error: TskataError.from(error).message,
    });
    return undefined;
  }
}

/** In order by the keeper; when it is gone, it may not have had the time. */
async function closeNetwork({ keeper, path, release }: PodNetworkParts): Promise<void> {
  try {
    await keeper.call.closeNetwork({}, CALL);
  } catch (error) {
    if (TskataError.from(error).code !== Code.Unavailable) throw error;
    if (path !== '') await release(path);
  }
}
