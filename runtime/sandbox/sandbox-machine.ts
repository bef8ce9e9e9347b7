/**
 * Owns the machine of one sandbox from nothing to its end: its network, its share, its disk slots, and which of them
 * it has already. Refuses to know containers; they say what they need.
 */
import { TskataError } from '../../agent/protocol/errors.ts';
import type { Scope } from '../../agent/protocol/scope.ts';
import { step } from '../host/step.ts';
import { DiskSlots } from '../storage/disk-slots.ts';
import { type HostMounts, SHARE_TAG, ShareTree } from '../storage/share-tree.ts';
import type { DiskConfig, ShareConfig, VmConfig } from '../vm/vm.ts';
import type { AnnotationPolicy, NetworkOptions } from './config.ts';
import { DIAL_CALL_MS, NETWORK_CALL_MS, QUICK_CALL_MS } from './deadlines.ts';
import type { GuestStream } from './guest.ts';
import { followGuestEvents } from './guest-events.ts';
import type { GroupPolicy, HostGroup } from './host-group.ts';
import { bootMachine, type Machine, type MachineParts } from './machine.ts';
import type { MachineSize, SizePolicy } from './machine-size.ts';
import { type NetworkGuest, type NetworkProvider, noNetwork, type OpenNetwork } from './network.ts';
import { runningMachine, type SandboxStatus } from './status.ts';

/** What the machine is built from. */
export interface SandboxConfig {
  readonly id: string;
  /** Host path that becomes the share's root; private to the sandbox. */
  readonly shareRoot: string;
  readonly kernel: string;
  readonly initrd: string;
  /** Machine profile, or 'auto'. */
  readonly profile: string;
  readonly debug: boolean;
  /** Whose annotations its bundles carry. */
  readonly annotations: AnnotationPolicy;
  readonly sizes: SizePolicy;
  readonly namespace: string;
  readonly group: GroupPolicy;
}

/** What it works with. */
export interface SandboxMachineParts extends MachineParts {
  readonly hostMounts: HostMounts;
  readonly networks: NetworkProvider;
  readonly hostGroup: HostGroup;
  /** Called when the machine has ended by itself or by `stop`; awaited by `stop`. */
  readonly onEnded: (reason: string) => Promise<void>;
  readonly onOom: (containerId: string, kills: bigint) => void;
}

/** What a container needs of the machine. */
export interface MachineNeeds {
  /** Used by the first container only: it decides the size, the network and the name. */
  readonly size: MachineSize;
  readonly network: NetworkOptions;
  readonly hostname: string;
  readonly disks: readonly DiskConfig[];
  readonly usesShare: boolean;
}

export class SandboxMachine {
  readonly #config: SandboxConfig;
  readonly #parts: SandboxMachineParts;
  #status: SandboxStatus = { name: 'empty' };
  #network: OpenNetwork = noNetwork;
  #size: MachineSize | undefined;
  #slots = this.#newSlots();
  #share: ShareTree;
  #shareAttached: Promise<void> | undefined;
  /** Settles when `onEnded` has been carried out for the last machine. */
  #endTold: Promise<void> = Promise.resolve();

  constructor(config: SandboxConfig, parts: SandboxMachineParts) {
    this.#config = config;
    this.#parts = parts;
    this.#share = new ShareTree(config.shareRoot, parts.hostMounts);
  }

  get status(): SandboxStatus {
    return this.#status;
  }

  /** Of the machine that was started last. */
  get size(): MachineSize | undefined {
    return this.#size;
  }

  get network(): OpenNetwork {
    return this.#network;
  }

  get slots(): DiskSlots {
    return this.#slots;
  }

  get share(): ShareTree {
    return this.#share;
  }

  /** The running machine. Throws when there is none, saying what was attempted. */
  running(operation: string): Machine {
    return runningMachine(this.#status, operation);
  }

  /** A machine with what is needed: booted with it, or given it while it runs; then `scope` takes it away again. */
  async ensure(needs: MachineNeeds, scope: Scope): Promise<Machine> {
    if (this.#status.name === 'empty') {
      const booting = this.#boot(needs);
      this.#status = { name: 'booting', machine: booting };
      return await booting;
    }
    const machine =
      this.#status.name === 'booting' ? await this.#status.machine : runningMachine(this.#status, 'create container');
    await step('attach storage', () => this.#attach(machine, needs, scope));
    return machine;
  }

  /** Lets the guest forget names that have vanished from its share: what it remembers, the host keeps open. */
  async forgetShareNames(names: readonly string[]): Promise<void> {
    if (this.#status.name !== 'running' || names.length === 0) return;
    const { guest } = this.#status.machine;
    await guest.call.forgetShareNames({ tag: SHARE_TAG, names }, { timeoutMs: QUICK_CALL_MS });
  }

  /**
   * Ends the machine, in order if the guest still answers, and gives back its network. `reset` makes place for another
   * one; without it the sandbox stays ended. Idempotent.
   */
  async stop(reset: boolean): Promise<void> {
    // A boot that is under way is waited for: it ends by itself, within its deadline.
    if (this.#status.name === 'booting') await this.#status.machine.catch(() => undefined);
    if (this.#status.name === 'running') await this.#status.machine.destroy();
    await this.#endTold;
    await this.#closeNetwork();
    if (reset) this.#reset();
  }

  async #attach(machine: Machine, needs: MachineNeeds, scope: Scope): Promise<void> {
    for (const disk of needs.disks) {
      await machine.vm.attachDisk(disk);
      scope.add(() => machine.vm.detachDisk(disk.slot));
    }
    if (!needs.usesShare) return;
    this.#shareAttached ??= machine.vm.attachShare(this.#shareConfig()).catch((error: unknown) => {
      this.#shareAttached = undefined;
      throw error;
    });
    await this.#shareAttached;
  }

  async #boot(needs: MachineNeeds): Promise<Machine> {
    try {
      if (needs.network.mode !== 'none' || needs.network.publish.length > 0) {
        this.#network = await step('set up the network', () => this.#parts.networks.open(needs.network));
      }
      const { id: sandboxId } = this.#config;
      const { hostname } = needs;
      const identity = { sandboxId, hostname, network: this.#network.config };
      const machine = await bootMachine(this.#vmConfig(needs), identity, this.#parts);
      if (needs.usesShare) this.#shareAttached = Promise.resolve();
      this.#follow(machine);
      await this.#network.connect(networkGuest(machine));
      return machine;
    } catch (error) {
      if (this.#status.name === 'running') await this.#status.machine.destroy();
      await this.#endTold;
      await this.#closeNetwork();
      this.#reset();
      throw error;
    }
  }

  #vmConfig(needs: MachineNeeds): VmConfig {
    const { kernel, initrd, profile, debug } = this.#config;
    const { nics } = this.#network;
    this.#size = needs.size;
    const { memoryMib, vcpus } = needs.size;
    const shares = needs.usesShare ? [this.#shareConfig()] : [];
    return { profile, memoryMib, vcpus, kernel, initrd, disks: needs.disks, shares, nics, debug };
  }

  #shareConfig(): ShareConfig {
    return { tag: SHARE_TAG, directory: this.#share.root, readOnly: false };
  }

  #follow(machine: Machine): void {
    this.#status = { name: 'running', machine };
    void followGuestEvents(machine.guest, this.#parts.onOom, this.#parts.log);
    this.#endTold = machine.ended.then(async (reason) => {
      this.#status = { name: 'ended', reason };
      this.#parts.log.info('machine ended', { reason });
      await this.#parts.onEnded(reason);
    });
  }

  async #closeNetwork(): Promise<void> {
    const network = this.#network;
    this.#network = noNetwork;
    try {
      await network.close();
    } catch (error) {
      this.#parts.log.warn('network not closed', { error: TskataError.from(error).message });
    }
  }

  #newSlots(): DiskSlots {
    return new DiskSlots((slot) => this.#status.name === 'running' && this.#status.machine.vm.hasDisk(slot));
  }

  /** What the next machine has is made anew: the mounts of the share went with the keeper of the last one. */
  #reset(): void {
    this.#status = { name: 'empty' };
    this.#shareAttached = undefined;
    this.#slots = this.#newSlots();
    this.#share = new ShareTree(this.#config.shareRoot, this.#parts.hostMounts);
  }
}

/** The machine as its network sees it. */
function networkGuest(machine: Machine): NetworkGuest {
  return {
    dial: (network, address) => dial(machine, network, address),
    configure: async (network) => {
      await machine.guest.call.configureNetwork({ network }, { timeoutMs: NETWORK_CALL_MS });
    },
    attachNic: (nic) => machine.vm.attachNic(nic),
    detachNic: (mac) => machine.vm.detachNic(mac),
  };
}

/** A connection into the guest: a stream that the agent ties to a socket there. */
async function dial(machine: Machine, network: 'tcp' | 'udp' | 'unix', address: string): Promise<GuestStream> {
  const stream = machine.guest.openStream();
  try {
    await machine.guest.call.dial({ stream: stream.id, network, address }, { timeoutMs: DIAL_CALL_MS });
    return stream;
  } catch (error) {
    stream.abort();
    throw error;
  }
}
