/**
 * Owns one sandbox: a machine, its share and network, and the containers in it; everything live on the host side ends
 * with it. Refuses to know QEMU, tasks and clients. One process can hold several.
 */
import { isAbsolute } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { Scope } from '../../agent/protocol/scope.ts';
import { type Bundle, readBundle, rootDirectory } from '../oci/bundle.ts';
import { acquireStorage, mountMessages, storageMessages } from '../storage/container-storage.ts';
import { DiskSlots } from '../storage/disk-slots.ts';
import { guestFiles } from '../storage/guest-files.ts';
import { planMounts } from '../storage/mounts.ts';
import type { PlannedMount, RootfsPlan } from '../storage/plan.ts';
import { planRootfs, type RootfsMount } from '../storage/rootfs.ts';
import { type HostMounts, SHARE_TAG, ShareTree } from '../storage/share-tree.ts';
import type { DiskConfig, ShareConfig, VmConfig } from '../vm/vm.ts';
import { machineSize, readOptions, type SandboxOptions } from './config.ts';
import { Container } from './container.ts';
import { containerSpecMessage } from './container-spec.ts';
import { CREATE_CALL_MS, DELETE_CALL_MS } from './deadlines.ts';
import type { SandboxListener } from './events.ts';
import { followGuestEvents } from './guest-events.ts';
import { bootMachine, type Machine, type MachineParts, untilEnd } from './machine.ts';
import { type NetworkProvider, noNetwork, type OpenNetwork } from './network.ts';
import type { OpenProcessIo, StdioPaths } from './process-io.ts';
import { type ProcessExit, runningMachine, type SandboxStatus } from './status.ts';
import { step } from './step.ts';

/** The first number that no process of the host has (PID_MAX_LIMIT): execs are numbered from here. */
const FIRST_EXEC_PID = 4_194_305;
const KILLED_STATUS = 137;

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
}

/** What the sandbox works with. */
export interface SandboxParts extends MachineParts {
  readonly hostMounts: HostMounts;
  readonly networks: NetworkProvider;
  readonly listener: SandboxListener;
}

/** A container to make. */
export interface CreateRequest {
  readonly id: string;
  /** Absolute host path of the OCI bundle. */
  readonly bundle: string;
  readonly rootfs: readonly RootfsMount[];
  readonly stdio: StdioPaths;
  readonly openIo: (stdio: StdioPaths, options: SandboxOptions) => ReturnType<OpenProcessIo>;
}

interface Entry {
  readonly container: Container;
  /** Gives back what the container took of the host. */
  readonly scope: Scope;
}

export class Sandbox {
  readonly config: SandboxConfig;
  readonly #parts: SandboxParts;
  readonly #containers = new Map<string, Entry>();
  /** Ids that are being created or deleted. */
  readonly #reserved = new Set<string>();
  readonly #slots = new DiskSlots();
  readonly #share: ShareTree;
  #status: SandboxStatus = { name: 'empty' };
  #network: OpenNetwork = noNetwork;
  #shareAttached: Promise<void> | undefined;
  #nextExecPid = FIRST_EXEC_PID;
  #nextContainer = 0;
  /** Resolves with the reason when the machine has ended and every exit has been told. */
  #exitsTold: Promise<void> = Promise.resolve();

  constructor(config: SandboxConfig, parts: SandboxParts) {
    this.config = config;
    this.#parts = parts;
    this.#share = new ShareTree(config.shareRoot, parts.hostMounts);
  }

  get status(): SandboxStatus {
    return this.#status;
  }

  get containers(): readonly Container[] {
    return [...this.#containers.values()].map((entry) => entry.container);
  }

  /** Whether nothing lives here and nothing is being made. */
  get idle(): boolean {
    return this.#containers.size === 0 && this.#reserved.size === 0;
  }

  /** Whether an id is in use, by a container or by one being created. */
  has(id: string): boolean {
    return this.#containers.has(id) || this.#reserved.has(id);
  }

  /** Throws NotFound for an id that is unknown or still being created. */
  container(id: string): Container {
    const entry = this.#containers.get(id);
    if (entry === undefined) throw new TskataError(Code.NotFound, `container ${id} does not exist`);
    return entry.container;
  }

  /**
   * Makes a container, and the machine for the first one. The error of a failed step names it; nothing stays behind,
   * and the id is free again.
   */
  async create(request: CreateRequest): Promise<Container> {
    if (this.has(request.id)) {
      throw new TskataError(Code.AlreadyExists, `container ${request.id} already exists`);
    }
    if (!isAbsolute(request.bundle))
      throw new TskataError(Code.InvalidArgument, `bundle '${request.bundle}' is not an absolute path`);
    this.#reserved.add(request.id);
    const scope = new Scope();
    try {
      const container = await step(`create container ${request.id}`, () => this.#create(request, scope));
      this.#containers.set(request.id, { container, scope });
      this.#parts.listener({ type: 'created', container });
      return container;
    } catch (error) {
      for (const failed of await scope.close()) this.#parts.log.warn('undo failed', { error: failed.message });
      if (this.#containers.size === 0 && this.#reserved.size === 1) await this.#stopMachine();
      throw error;
    } finally {
      this.#reserved.delete(request.id);
    }
  }

  /** Removes an ended or never started container, and gives back what it took. Throws FailedPrecondition for a running one. */
  async delete(id: string): Promise<{ readonly container: Container; readonly exit: ProcessExit }> {
    const { container, scope } = this.#containers.get(id) ?? { container: this.container(id), scope: new Scope() };
    const { status } = container.init;
    if (status.name === 'running' || status.name === 'starting') {
      throw new TskataError(Code.FailedPrecondition, `delete container ${id}: it is running`);
    }
    const held = status.name === 'created';
    if (!held) await container.releaseIo();
    await this.#deleteInGuest(id);
    if (held) {
      container.init.settle({ status: KILLED_STATUS, at: new Date(), oomKilled: false });
      await container.releaseIo();
    }
    for (const failed of await scope.close())
      this.#parts.log.warn('undo failed', { container: id, error: failed.message });
    this.#containers.delete(id);
    const exit = await container.init.exited;
    this.#parts.listener({ type: 'deleted', container, process: container.init, exit });
    return { container, exit };
  }

  /** Ends the machine and everything in it, in order if the guest still answers. Idempotent. */
  async destroy(): Promise<void> {
    await this.#stopMachine();
    await this.#exitsTold;
    for (const { container, scope } of this.#containers.values()) {
      await container.releaseIo();
      await scope.close();
    }
    this.#containers.clear();
  }

  async #create(request: CreateRequest, scope: Scope): Promise<Container> {
    const bundle = await step('read bundle', () => readBundle(request.bundle));
    const options = readOptions(bundle.spec.annotations ?? {});
    const prefix = `c${this.#nextContainer++}-`;
    const rootfs = planRootfs({
      mounts: request.rootfs,
      bundleRoot: rootDirectory(bundle),
      readOnly: bundle.spec.root?.readonly ?? false,
      idPrefix: prefix,
    });
    const mounts = planMounts(bundle.spec.mounts ?? [], prefix);
    const planned = [...rootfs.storages, ...mounts.flatMap((mount) => mount.storage ?? [])];

    const io = await step('open input and output', () => request.openIo(request.stdio, options));
    scope.add(() => io.close());
    const acquired = await step('prepare storage', () =>
      acquireStorage(planned, { slots: this.#slots, share: this.#share, scope }),
    );
    const usesShare = acquired.entries.size > 0;
    const machine = await this.#ensureMachine(bundle, options, [...acquired.disks.values()], usesShare, scope);

    const container = this.#newContainer(request, bundle, machine);
    const streams = container.init.attach(io, machine.guest);
    await step('set up the container in the guest', () =>
      untilEnd(
        machine.vm,
        machine.guest.call.createContainer(
          {
            containerId: request.id,
            storages: storageMessages(planned, acquired, machine.vm),
            rootfsId: rootfs.rootfsId,
            spec: containerSpecMessage(bundle.spec, {
              mounts: mountMessages(mounts, acquired),
              files: this.#guestFiles(bundle, options, rootfs, mounts),
            }),
            streams: {
              stdin: streams.stdin?.id ?? 0,
              stdout: streams.stdout?.id ?? 0,
              stderr: streams.stderr?.id ?? 0,
            },
          },
          { timeoutMs: CREATE_CALL_MS },
        ),
      ),
    );
    container.init.watch(machine.guest);
    return container;
  }

  #newContainer(request: CreateRequest, bundle: Bundle, machine: Machine): Container {
    return new Container({
      id: request.id,
      bundle: request.bundle,
      spec: bundle.spec,
      rootfs: request.rootfs,
      stdio: request.stdio,
      initPid: machine.vm.qemuPid,
      createdAt: new Date(),
      machine: (operation) => runningMachine(this.#status, operation),
      nextExecPid: () => this.#nextExecPid++,
      listener: this.#parts.listener,
    });
  }

  /** Files of the network's making, for a sandbox that has one of ours; others keep those of their image. */
  #guestFiles(
    bundle: Bundle,
    options: SandboxOptions,
    _rootfs: RootfsPlan,
    mounts: readonly PlannedMount[],
  ): ReturnType<typeof guestFiles> {
    if (!Object.keys(bundle.spec.annotations ?? {}).some((name) => name.startsWith('io.tskata.'))) return [];
    const nameServers =
      options.network.nameServers.length > 0 ? options.network.nameServers : this.#network.nameServers;
    const names = { hostname: bundle.spec.hostname ?? '', addresses: this.#network.addresses, nameServers };
    return guestFiles(names, new Set(mounts.map((mount) => mount.destination)));
  }

  /** The machine with these disks: booted with them, or given them while it runs. */
  async #ensureMachine(
    bundle: Bundle,
    options: SandboxOptions,
    disks: readonly DiskConfig[],
    usesShare: boolean,
    scope: Scope,
  ): Promise<Machine> {
    if (this.#status.name === 'ended') runningMachine(this.#status, 'create container');
    if (this.#status.name === 'empty') {
      const booting = this.#boot(bundle, options, disks, usesShare);
      this.#status = { name: 'booting', machine: booting };
      return await booting;
    }
    const machine =
      this.#status.name === 'booting' ? await this.#status.machine : runningMachine(this.#status, 'create container');
    await step('attach disks', () => this.#attach(machine, disks, usesShare, scope));
    return machine;
  }

  async #attach(machine: Machine, disks: readonly DiskConfig[], usesShare: boolean, scope: Scope): Promise<void> {
    for (const disk of disks) {
      await machine.vm.attachDisk(disk);
      scope.add(() => machine.vm.detachDisk(disk.slot));
    }
    if (!usesShare) return;
    this.#shareAttached ??= machine.vm.attachShare(this.#shareConfig());
    await this.#shareAttached;
  }

  async #boot(
    bundle: Bundle,
    options: SandboxOptions,
    disks: readonly DiskConfig[],
    usesShare: boolean,
  ): Promise<Machine> {
    const scope = new Scope();
    try {
      if (options.network.mode !== 'none' || options.network.publish.length > 0) {
        this.#network = await step('set up the network', () => this.#parts.networks.open(options.network));
        scope.add(() => this.#network.close());
      }
      const machine = await bootMachine(
        this.#vmConfig(machineSize(bundle.spec, options), disks, usesShare),
        {
          sandboxId: this.config.id,
          hostname: bundle.spec.hostname ?? '',
          sharedPidNamespace: false,
          network: this.#network.config,
        },
        this.#parts,
      );
      scope.add(() => machine.destroy());
      if (usesShare) this.#shareAttached = Promise.resolve();
      await step('publish ports', () => this.#network.connect((network, address) => dial(machine, network, address)));
      this.#follow(machine);
      return machine;
    } catch (error) {
      await scope.close();
      this.#network = noNetwork;
      this.#status = { name: 'empty' };
      throw error;
    }
  }

  #vmConfig(size: { memoryMib: number; vcpus: number }, disks: readonly DiskConfig[], usesShare: boolean): VmConfig {
    const { kernel, initrd, profile, debug } = this.config;
    const { nic } = this.#network;
    const shares = usesShare ? [this.#shareConfig()] : [];
    return { profile, ...size, kernel, initrd, disks, shares, ...(nic === undefined ? {} : { nic }), debug };
  }

  #shareConfig(): ShareConfig {
    return { tag: SHARE_TAG, directory: this.#share.root, readOnly: false };
  }

  #follow(machine: Machine): void {
    this.#status = { name: 'running', machine };
    const onOom = (id: string): void => this.#containers.get(id)?.container.tellOom();
    void followGuestEvents(machine.guest, onOom, this.#parts.log);
    this.#exitsTold = machine.ended.then(async (reason) => {
      this.#status = { name: 'ended', reason };
      this.#parts.log.info('machine ended', { reason });
      await Promise.all([...this.#containers.values()].map((entry) => entry.container.endWithMachine(reason)));
    });
  }

  async #deleteInGuest(id: string): Promise<void> {
    if (this.#status.name !== 'running') return;
    const { guest } = this.#status.machine;
    try {
      await guest.call.deleteContainer({ containerId: id }, { timeoutMs: DELETE_CALL_MS });
    } catch (error) {
      // What the host holds of the container is given back in any case; the guest's part ends with the machine.
      this.#parts.log.warn('the agent could not delete the container', {
        container: id,
        error: TskataError.from(error).message,
      });
    }
  }

  async #stopMachine(): Promise<void> {
    const { status } = { status: this.#status };
    if (status.name === 'booting') await status.machine.catch(() => undefined);
    if (this.#status.name === 'running') {
      const { machine } = this.#status;
      await machine.destroy();
      await this.#exitsTold;
    }
    await this.#network.close();
    this.#network = noNetwork;
    if (this.#containers.size === 0) {
      this.#status = { name: 'empty' };
      this.#shareAttached = undefined;
    }
  }
}

/** A connection into the guest: a stream that the agent ties to a socket there. */
async function dial(
  machine: Machine,
  network: 'tcp' | 'udp' | 'unix',
  address: string,
): ReturnType<Parameters<OpenNetwork['connect']>[0]> {
  const stream = machine.guest.openStream();
  try {
    await machine.guest.call.dial({ stream: stream.id, network, address }, { timeoutMs: 10_000 });
    return stream;
  } catch (error) {
    stream.abort();
    throw error;
  }
}
