/**
 * Owns one sandbox: the containers in one machine, and the order in which they come and go. Refuses to know QEMU, tasks
 * and clients. One process can hold several.
 */
import { randomInt } from 'node:crypto';
import { isAbsolute } from 'node:path';
import { type CancelSignal, CancelSource } from '../../agent/protocol/cancel.ts';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { MAX_PROCESSES } from '../../agent/protocol/limits.ts';
import { Scope } from '../../agent/protocol/scope.ts';
import { step, within } from '../host/step.ts';
import { type Bundle, readBundle, rootDirectory } from '../oci/bundle.ts';
import type { SpecResources } from '../oci/spec.ts';
import { acquireStorage, mountMessages, storageMessages } from '../storage/container-storage.ts';
import { guestFiles } from '../storage/guest-files.ts';
import { rootSources } from '../storage/host-directory.ts';
import { inspectSources } from '../storage/host-source.ts';
import { mountSources, planMounts } from '../storage/mounts.ts';
import type { PlannedMount, PlannedStorage, RootfsMount } from '../storage/plan.ts';
import { planRootfs } from '../storage/rootfs.ts';
import { type NetworkOptions, readOptions, type SandboxOptions } from './config.ts';
import { Container } from './container.ts';
import { containerSpecMessage } from './container-spec.ts';
import { CREATE_CALL_MS, RELEASE_MS } from './deadlines.ts';
import type { SandboxListener } from './events.ts';
import { deleteInGuest, isUnanswered, takeBackContainer } from './give-up.ts';
import { checkHooks, LifecycleHooks, type RunHook } from './hooks.ts';
import type { Machine } from './machine.ts';
import { machineSize, sandboxLimits } from './machine-size.ts';
import { type ContainerNamespaces, planNamespaces } from './namespaces.ts';
import { networkOf } from './network-mode.ts';
import { type ProcessIo, type StdioPaths, streamIds } from './process-io.ts';
import { SandboxGroup } from './sandbox-group.ts';
import { type SandboxConfig, SandboxMachine, type SandboxMachineParts } from './sandbox-machine.ts';
import { networkPathOf, type StandIn, type StartStandIn } from './stand-in.ts';
import type { ProcessExit, SandboxStatus } from './status.ts';
import { checkUpdate } from './update.ts';

/** The first number that no process of the host has (PID_MAX_LIMIT): execs are numbered from there. */
const FIRST_EXEC_PID = 4_194_305;
/** Each sandbox begins somewhere of its own below this, so that the execs of two are not the same to whoever sees both. */
const LAST_FIRST_EXEC_PID = 2 ** 31 - 2 ** 24;
const KILLED_STATUS = 137;

/** What the sandbox works with. */
export interface SandboxParts extends Omit<SandboxMachineParts, 'onEnded' | 'onOom'> {
  readonly listener: SandboxListener;
  readonly startStandIn: StartStandIn;
  readonly runHook: RunHook;
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
  /** Aborted when nobody waits for the container any more: one that is finished all the same is undone. */
  readonly signal?: CancelSignal;
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
  readonly network: NetworkOptions;
  readonly namespaces: ContainerNamespaces;
  readonly rootfsId: string;
  readonly mounts: readonly PlannedMount[];
  readonly storages: readonly PlannedStorage[];
}

export class Sandbox {
  readonly #config: SandboxConfig;
  readonly #parts: SandboxParts;
  readonly #machine: SandboxMachine;
  readonly #group: SandboxGroup;
  readonly #containers = new Map<string, Entry>();
  /** Those that are being made, by id: what gives one up, and its end. */
  readonly #making = new Map<string, { readonly cancel: CancelSource; readonly ended: Promise<unknown> }>();
  #nextExecPid = randomInt(FIRST_EXEC_PID, LAST_FIRST_EXEC_PID);
  #nextContainer = 0;

  constructor(config: SandboxConfig, parts: SandboxParts) {
    this.#config = config;
    this.#parts = parts;
    this.#machine = new SandboxMachine(config, {
      ...parts,
      onEnded: async (reason) => {
        await Promise.all(this.containers.map((container) => container.endWithMachine(reason)));
      },
      onOom: (id, kills) => this.#containers.get(id)?.container.tellOom(kills),
    });
    this.#group = new SandboxGroup(config, parts.hostGroup);
  }

  get status(): SandboxStatus {
    return this.#machine.status;
  }

  get containers(): readonly Container[] {
    return [...this.#containers.values()].map((entry) => entry.container);
  }

  /** Whether nothing lives here and nothing is being made. */
  get idle(): boolean {
    return this.#containers.size === 0 && this.#making.size === 0;
  }

  /** Whether an id is in use, by a container or by one being created. */
  has(id: string): boolean {
    return this.#containers.has(id) || this.#making.has(id);
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
    this.#checkRoom();
    const { signal } = request;
    const cancel = new CancelSource();
    signal?.addEventListener('abort', () => cancel.abort(signal.reason));
    if (signal?.aborted) cancel.abort(signal.reason);
    const made = this.#make({ ...request, signal: cancel });
    const ended = made.catch(() => undefined);
    this.#making.set(id, { cancel, ended });
    try {
      return await made;
    } finally {
      this.#making.delete(id);
    }
  }

  async #make(request: CreateRequest): Promise<Container> {
    const { id } = request;
    const scope = new Scope();
    try {
      const { container, machine } = await step(`create container ${id}`, () => this.#create(request, scope));
      if (request.signal?.aborted) {
        await this.#deleteInGuest(id);
        throw new TskataError(Code.Canceled, `create container ${id}: whoever asked for it is gone`);
      }
      this.#containers.set(id, { container, scope });
      this.#parts.listener({ type: 'created', container });
      container.init.watch(machine.guest);
      // It may have ended since the agent's answer, when this container was not among those that were told.
      const { status } = this.#machine;
      if (status.name === 'ended') void container.endWithMachine(status.reason);
      return container;
    } catch (error) {
      this.#warn(id, await scope.close());
      if (this.#containers.size === 0 && this.#making.size === 1) await this.#machine.stop(true);
      throw error;
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

  /**
   * Changes the limits of a container while it runs: in the guest, and on the host where they name parts of it.
   * Throws FailedPrecondition for more than the machine can hold.
   */
  async update(id: string, resources: SpecResources): Promise<void> {
    const { container } = this.#entry(id);
    const { size } = this.#machine;
    const { guestOverheadMib } = this.#config.sizes;
    if (size !== undefined) checkUpdate(id, container.resources, resources, { ...size, guestOverheadMib });
    this.#group.check(id, resources);
    await container.update(resources);
    await this.#group.place(this.containers);
  }

  /** Ends the machine and everything in it, in order if the guest still answers. Idempotent. */
  async destroy(): Promise<void> {
    const making = [...this.#making.values()];
    for (const { cancel } of making) cancel.abort('the sandbox ends');
    await this.#machine.stop(false);
    const released = [...this.#containers].map(async ([id, { container, scope }]) => {
      await container.releaseIo();
      this.#warn(id, await scope.close());
    });
    await within(RELEASE_MS, Promise.all([...released, ...making.map(({ ended }) => ended)]), undefined);
    this.#containers.clear();
  }

  /** Each process that has not ended is a Wait under way with the agent, which is bounded. */
  #checkRoom(): void {
    const live = this.containers.flatMap(({ processes }) =>
      processes.filter(({ status }) => status.name !== 'stopped'),
    );
    if (live.length < MAX_PROCESSES) return;
    const fact = `it has ${live.length} containers and execs that have not ended, the most that it can have`;
    throw new TskataError(Code.ResourceExhausted, `one more process in the sandbox: ${fact}; end some of them`);
  }

  #entry(id: string): Entry {
    const entry = this.#containers.get(id);
    if (entry === undefined) throw new TskataError(Code.NotFound, `container ${id} does not exist`);
    return entry;
  }

  async #create(request: CreateRequest, scope: Scope): Promise<{ container: Container; machine: Machine }> {
    const plan = await this.#plan(request);
    const { storages, options, network } = plan;
    const { spec } = plan.bundle;
    this.#group.check(request.id, spec.linux?.resources ?? {});
    const io = await step('open input and output', () => request.openIo(request.stdio, options));
    scope.add(() => io.close());
    const size = machineSize(sandboxLimits(spec), options, this.#config.sizes);
    if (this.#machine.status.name === 'empty') {
      await step('enter the host cgroup', () => this.#group.enter(spec, size));
    }
    const { slots, share } = this.#machine;
    const onShareRemoved = (names: readonly string[]) => this.#machine.forgetShareNames(names);
    const acquired = await step('prepare storage', () =>
      acquireStorage(storages, { slots, share, scope, onShareRemoved }),
    );
    const machine = await this.#machine.ensure(
      {
        size,
        network,
        hostname: spec.hostname ?? '',
        disks: [...acquired.disks.values()],
        usesShare: acquired.entries.size > 0,
      },
      scope,
    );
    const hooks = new LifecycleHooks({ id: request.id, bundle: request.bundle, spec }, this.#parts.runHook);
    // After the end of the stand-in, which is registered later.
    scope.add(async () => this.#warn(request.id, await hooks.gone()));
    const standIn = await step('start the stand-in', () => this.#parts.startStandIn(request.id, networkPathOf(spec)));
    scope.add(() => standIn.end());
    await hooks.creating(standIn.pid, request.signal);
    const container = this.#newContainer(request, plan, { machine, standIn, hooks });
    if (this.#containers.size > 0) {
      await step('limit the host cgroup', () => this.#group.place([...this.containers, container]));
    }
    const streams = streamIds(container.init.attach(io, machine.guest));
    const message = {
      containerId: request.id,
      storages: storageMessages(storages, acquired, machine.vm),
      rootfsId: plan.rootfsId,
      spec: containerSpecMessage(spec, {
        namespaces: plan.namespaces,
        mounts: mountMessages(plan.mounts, acquired),
        files: this.#guestFiles(plan),
      }),
      streams,
    };
    const call = machine.guest.call.createContainer(message, { timeoutMs: CREATE_CALL_MS });
    await step('set up the container in the guest', () => machine.explained(call)).catch((error: unknown) => {
      if (isUnanswered(error)) takeBackContainer(machine.guest, request.id);
      throw error;
    });
    return { container, machine };
  }

  /** Reads and checks everything that can be checked before anything is made. */
  async #plan(request: CreateRequest): Promise<Plan> {
    const bundle = await step('read bundle', () => readBundle(request.bundle));
    const { spec } = bundle;
    const idPrefix = `c${this.#nextContainer++}-`;
    const bundleRoot = rootDirectory(bundle);
    const paths = [...rootSources(request.rootfs, bundleRoot), ...mountSources(spec.mounts ?? [])];
    const sources = await inspectSources(paths);
    const readOnly = spec.root?.readonly ?? false;
    const rootfs = planRootfs({ mounts: request.rootfs, sources, bundleRoot, readOnly, idPrefix });
    const mounts = planMounts(spec.mounts ?? [], idPrefix, sources, spec.linux ?? {});
    const volumes = mounts.flatMap((mount) => mount.storage ?? []);
    checkHooks(spec, this.#config.annotations.caller);
    const options = readOptions(spec.annotations ?? {}, this.#config.annotations);
    const network = networkOf(spec, options, this.#config.annotations.caller);
    const neighbours = this.containers.map(({ id, init }) => ({ id, pid: init.pid }));
    const namespaces = planNamespaces(spec, neighbours);
    const storages = [...rootfs.storages, ...volumes];
    return { bundle, options, network, namespaces, rootfsId: rootfs.rootfsId, mounts, storages };
  }

  #newContainer(
    request: CreateRequest,
    { bundle, options }: Plan,
    { machine, standIn, hooks }: { machine: Machine; standIn: StandIn; hooks: LifecycleHooks },
  ): Container {
    return new Container({
      id: request.id,
      bundle: request.bundle,
      spec: bundle.spec,
      options,
      rootfs: request.rootfs,
      stdio: request.stdio,
      standIn,
      machinePid: machine.vm.qemuPid,
      createdAt: new Date(),
      afterStart: () => hooks.started(),
      machine: (operation) => this.#machine.running(operation),
      nextExecPid: () => {
        this.#checkRoom();
        return this.#nextExecPid++;
      },
      listener: this.#parts.listener,
    });
  }

  /** Files of the network's making, for a sandbox that has one of ours; others keep those of their image. */
  #guestFiles({ bundle, options, mounts }: Plan): ReturnType<typeof guestFiles> {
    const { hostname = '' } = bundle.spec;
    if (this.#config.annotations.caller !== 'command') return [];
    const { addresses, nameServers } = this.#machine.network;
    const asked = options.network.nameServers;
    const names = { hostname, addresses, nameServers: asked.length > 0 ? asked : nameServers };
    return guestFiles(names, new Set(mounts.map((mount) => mount.destination)));
  }

  async #deleteInGuest(id: string): Promise<void> {
    if (this.#machine.status.name !== 'running') return;
    const { guest } = this.#machine.status.machine;
    try {
      await deleteInGuest(guest, id);
    } catch (error) {
      // What the host holds of the container is given back in any case; the guest's part ends with the machine.
      const { message } = TskataError.from(error);
      this.#parts.log.warn('the agent could not delete the container', { container: id, error: message });
    }
  }

  #warn(id: string, failures: readonly TskataError[]): void {
    for (const failure of failures) this.#parts.log.warn('step failed', { container: id, error: failure.message });
  }
}
