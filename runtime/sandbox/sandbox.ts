/**
 * Owns one sandbox: the containers in one machine, and the order in which they come and go. Refuses to know QEMU, tasks
 * and clients. One process can hold several.
 */
import { isAbsolute } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { Scope } from '../../agent/protocol/scope.ts';
import { type Bundle, readBundle, rootDirectory } from '../oci/bundle.ts';
import { acquireStorage, mountMessages, storageMessages } from '../storage/container-storage.ts';
import { guestFiles } from '../storage/guest-files.ts';
import { planMounts } from '../storage/mounts.ts';
import type { PlannedMount, PlannedStorage, RootfsMount } from '../storage/plan.ts';
import { planRootfs } from '../storage/rootfs.ts';
import { machineSize, readOptions, type SandboxOptions } from './config.ts';
import { Container } from './container.ts';
import { containerSpecMessage } from './container-spec.ts';
import { CREATE_CALL_MS, DELETE_CALL_MS } from './deadlines.ts';
import type { SandboxListener } from './events.ts';
import type { Machine } from './machine.ts';
import { type ProcessIo, type StdioPaths, streamIds } from './process-io.ts';
import { type SandboxConfig, SandboxMachine, type SandboxMachineParts } from './sandbox-machine.ts';
import type { ProcessExit, SandboxStatus } from './status.ts';
import { step } from './step.ts';

/** The first number that no process of the host has (PID_MAX_LIMIT): execs are numbered from here. */
const FIRST_EXEC_PID = 4_194_305;
const KILLED_STATUS = 137;

/** What the sandbox works with. */
export interface SandboxParts extends Omit<SandboxMachineParts, 'onEnded' | 'onOom'> {
  readonly listener: SandboxListener;
}

/** A container to make. */
export interface CreateRequest {
  readonly id: string;
  /** Absolute host path of the OCI bundle. */
  readonly bundle: string;
  readonly rootfs: readonly RootfsMount[];
  readonly stdio: StdioPaths;
  /** Opens what `stdio` names, and what the annotations ask for. */
  readonly openIo: (stdio: StdioPaths, options: SandboxOptions) => ProcessIo;
}

interface Entry {
  readonly container: Container;
  /** Gives back what the container took of the host. */
  readonly scope: Scope;
}

/** A container's configuration, read and planned; nothing of it exists yet. */
interface Plan {
  readonly bundle: Bundle;
  readonly options: SandboxOptions;
  readonly rootfsId: string;
  readonly mounts: readonly PlannedMount[];
  readonly storages: readonly PlannedStorage[];
}

export class Sandbox {
  readonly #parts: SandboxParts;
  readonly #machine: SandboxMachine;
  readonly #containers = new Map<string, Entry>();
  /** Ids that are being created. */
  readonly #reserved = new Set<string>();
  #nextExecPid = FIRST_EXEC_PID;
  #nextContainer = 0;

  constructor(config: SandboxConfig, parts: SandboxParts) {
    this.#parts = parts;
    this.#machine = new SandboxMachine(config, {
      ...parts,
      onEnded: async (reason) => {
        await Promise.all(this.containers.map((container) => container.endWithMachine(reason)));
      },
      onOom: (id) => this.#containers.get(id)?.container.tellOom(),
    });
  }

  get status(): SandboxStatus {
    return this.#machine.status;
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
    return this.#entry(id).container;
  }

  /**
   * Makes a container, and the machine for the first one. The error of a failed step names it; nothing stays behind,
   * and the id is free again.
   */
  async create(request: CreateRequest): Promise<Container> {
    const { id, bundle } = request;
    if (this.has(id)) throw new TskataError(Code.AlreadyExists, `container ${id} already exists`);
    if (!isAbsolute(bundle)) throw new TskataError(Code.InvalidArgument, `bundle '${bundle}' is not an absolute path`);
    this.#reserved.add(id);
    const scope = new Scope();
    try {
      const { container, machine } = await step(`create container ${id}`, () => this.#create(request, scope));
      this.#containers.set(id, { container, scope });
      this.#parts.listener({ type: 'created', container });
      container.init.watch(machine.guest);
      // It may have ended since the agent's answer, when this container was not among those that were told.
      void machine.ended.then((reason) => container.endWithMachine(reason));
      return container;
    } catch (error) {
      this.#warn(id, await scope.close());
      if (this.#containers.size === 0 && this.#reserved.size === 1) await this.#machine.stop(true);
      throw error;
    } finally {
      this.#reserved.delete(id);
    }
  }

  /**
   * Removes an ended or never started container, and gives back what it took. Throws FailedPrecondition for a running
   * one. What the agent cannot do ends with the machine.
   */
  async delete(id: string): Promise<ProcessExit> {
    const { container, scope } = this.#entry(id);
    const { status } = container.init;
    if (status.name === 'running' || status.name === 'starting') {
      throw new TskataError(Code.FailedPrecondition, `delete container ${id}: it is running`);
    }
    if (status.name === 'stopped') await container.releaseIo();
    await this.#deleteInGuest(id);
    if (status.name === 'created') {
      container.init.settle({ status: KILLED_STATUS, at: new Date(), oomKilled: false });
      await container.releaseIo();
    }
    this.#warn(id, await scope.close());
    this.#containers.delete(id);
    const exit = await container.init.exited;
    this.#parts.listener({ type: 'deleted', container, process: container.init, exit });
    return exit;
  }

  /** Ends the machine and everything in it, in order if the guest still answers. Idempotent. */
  async destroy(): Promise<void> {
    await this.#machine.stop(false);
    for (const [id, { container, scope }] of this.#containers) {
      await container.releaseIo();
      this.#warn(id, await scope.close());
    }
    this.#containers.clear();
  }

  #entry(id: string): Entry {
    const entry = this.#containers.get(id);
    if (entry === undefined) throw new TskataError(Code.NotFound, `container ${id} does not exist`);
    return entry;
  }

  async #create(request: CreateRequest, scope: Scope): Promise<{ container: Container; machine: Machine }> {
    const plan = await this.#plan(request);
    const { storages, options } = plan;
    const { spec } = plan.bundle;
    const io = await step('open input and output', () => request.openIo(request.stdio, options));
    scope.add(() => io.close());
    const { slots, share } = this.#machine;
    const acquired = await step('prepare storage', () => acquireStorage(storages, { slots, share, scope }));
    const machine = await this.#machine.ensure(
      {
        size: machineSize(spec, options),
        network: options.network,
        hostname: spec.hostname ?? '',
        disks: [...acquired.disks.values()],
        usesShare: acquired.entries.size > 0,
      },
      scope,
    );
    const container = this.#newContainer(request, plan.bundle, machine);
    const streams = streamIds(container.init.attach(io, machine.guest));
    const message = {
      containerId: request.id,
      storages: storageMessages(storages, acquired, machine.vm),
      rootfsId: plan.rootfsId,
      spec: containerSpecMessage(spec, {
        mounts: mountMessages(plan.mounts, acquired),
        files: this.#guestFiles(plan),
      }),
      streams,
    };
    const call = machine.guest.call.createContainer(message, { timeoutMs: CREATE_CALL_MS });
    await step('set up the container in the guest', () => machine.explained(call));
    return { container, machine };
  }

  /** Reads and checks everything that can be checked before anything is made. */
  async #plan(request: CreateRequest): Promise<Plan> {
    const bundle = await step('read bundle', () => readBundle(request.bundle));
    const { spec } = bundle;
    const idPrefix = `c${this.#nextContainer++}-`;
    const rootfs = planRootfs({
      mounts: request.rootfs,
      bundleRoot: rootDirectory(bundle),
      readOnly: spec.root?.readonly ?? false,
      idPrefix,
    });
    const mounts = planMounts(spec.mounts ?? [], idPrefix);
    const volumes = mounts.flatMap((mount) => mount.storage ?? []);
    const options = readOptions(spec.annotations ?? {});
    return { bundle, options, rootfsId: rootfs.rootfsId, mounts, storages: [...rootfs.storages, ...volumes] };
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
      machine: (operation) => this.#machine.running(operation),
      nextExecPid: () => this.#nextExecPid++,
      listener: this.#parts.listener,
    });
  }

  /** Files of the network's making, for a sandbox that has one of ours; others keep those of their image. */
  #guestFiles({ bundle, options, mounts }: Plan): ReturnType<typeof guestFiles> {
    const { annotations = {}, hostname = '' } = bundle.spec;
    if (!Object.keys(annotations).some((name) => name.startsWith('io.tskata.'))) return [];
    const { addresses, nameServers } = this.#machine.network;
    const asked = options.network.nameServers;
    const names = { hostname, addresses, nameServers: asked.length > 0 ? asked : nameServers };
    return guestFiles(names, new Set(mounts.map((mount) => mount.destination)));
  }

  async #deleteInGuest(id: string): Promise<void> {
    if (this.#machine.status.name !== 'running') return;
    const { guest } = this.#machine.status.machine;
    try {
      await guest.call.deleteContainer({ containerId: id }, { timeoutMs: DELETE_CALL_MS });
    } catch (error) {
      // What the host holds of the container is given back in any case; the guest's part ends with the machine.
      const { message } = TskataError.from(error);
      this.#parts.log.warn('the agent could not delete the container', { container: id, error: message });
    }
  }

  #warn(id: string, failures: readonly TskataError[]): void {
    for (const failure of failures) this.#parts.log.warn('undo failed', { container: id, error: failure.message });
  }
}
