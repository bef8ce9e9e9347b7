/**
 * Owns the sandbox: its containers, storages and events, each looked up by the host's id. One per guest.
 */
import { Code, TskataError } from '../protocol/errors.ts';
import type { CreateContainerRequest } from '../protocol/generated/agent.ts';
import { checkAbsolute, checkCount, checkId, invalid, quoted } from '../service/check.ts';
import { convertSpec } from '../service/convert.ts';
import { openIdMap } from '../storage/id-map.ts';
import type { Storages } from '../storage/storages.ts';
import { close } from '../sys/calls.ts';
import { MS } from '../sys/linux.ts';
import { Container } from './container.ts';
import type { ContainerTools } from './container-tools.ts';
import { EventLog } from './events.ts';
import type { LaunchTools } from './launch.ts';
import { parseMountOptions } from './plan/mount-options.ts';
import type { Process } from './process.ts';

/** Containers of one sandbox: a pod has some tens. */
const MAX_CONTAINERS = 256;
/** One for each volume: a container that gets a hundred files one by one is not rare. */
const MAX_STORAGES = 1024;
const MAX_FILES = 32;

/** The one sandbox of this guest. */
export class Sandbox {
  readonly storages: Storages;
  readonly events: EventLog;
  private readonly tools: LaunchTools;
  private readonly containerTools: ContainerTools;
  private readonly containers = new Map<string, Container>();
  private identity: string | undefined;

  constructor(tools: LaunchTools, storages: Storages, accept: ContainerTools['accept']) {
    this.tools = tools;
    this.storages = storages;
    this.events = new EventLog(tools.loop);
    this.containerTools = {
      ...tools,
      accept,
      onOom: (containerId, kills) => this.events.push({ containerId, execId: '', oom: { kills }, exit: undefined }),
      onExit: (containerId, execId, process) => this.reportExit(containerId, execId, process),
    };
  }

  /** The sandbox's id, once it has one. */
  get id(): string | undefined {
    return this.identity;
  }

  /** Gives the guest its identity. Once. */
  create(id: string): void {
    if (this.identity !== undefined) {
      throw new TskataError(
        Code.FailedPrecondition,
        `create sandbox ${id}: this guest is sandbox ${this.identity} already`,
      );
    }
    this.identity = checkId('sandbox_id', id);
  }

  /** The container of that id. Throws TskataError: not found. */
  container(id: string): Container {
    const container = this.containers.get(id);
    if (container === undefined) {
      throw new TskataError(Code.NotFound, `find container: there is no container ${quoted(id)}`);
    }
    return container;
  }

  /** Makes a container up to the point where its program could start. A failure leaves nothing behind. */
  async createContainer(request: CreateContainerRequest): Promise<Container> {
    if (this.identity === undefined)
      throw new TskataError(Code.FailedPrecondition, 'create container: there is no sandbox yet');
    const id = checkId('container_id', request.containerId);
    if (this.containers.has(id)) {
      throw new TskataError(Code.AlreadyExists, `create container: there is a container ${id} already`);
    }
    if (this.containers.size >= MAX_CONTAINERS) {
      throw new TskataError(Code.ResourceExhausted, `create container: there are ${MAX_CONTAINERS} containers already`);
    }
    checkCount('storages', request.storages, MAX_STORAGES);
    checkCount('spec.files', request.spec?.files ?? [], MAX_FILES);
    for (const file of request.spec?.files ?? []) checkAbsolute('spec.files.destination', file.destination);
    return this.construct(id, request);
  }

  private async construct(id: string, request: CreateContainerRequest): Promise<Container> {
    // The spec can only be read when its storages are there; the id is taken meanwhile.
    const placeholder = new Container(this.containerTools, {
      id,
      spec: convertSpec(bare(request), placeholderStorage),
    });
    this.containers.set(id, placeholder);
    const { scope } = placeholder;
    try {
      await this.makeStorages(request, placeholder);
      const spec = convertSpec(request.spec, (field, storageId) => this.storages.get(field, storageId));
      for (const mount of spec.mounts) {
        const type = parseMountOptions(mount.options, mount.type).propagation?.type ?? MS.PRIVATE;
        const spreads = type === MS.SHARED || type === MS.SLAVE;
        if (mount.storagePath !== undefined && spreads) await this.storages.makeShared(mount.storagePath);
      }
      const rootfs = this.storages.get('rootfs_id', request.rootfsId);
      const directories = spec.mounts.flatMap(({ storagePath, subpath, isFile }) =>
        storagePath === undefined || isFile ? [] : [{ path: storagePath, subpath }],
      );
      await this.storages.visitShares([rootfs, ...directories]);
      const joined = this.pidNamespace(spec.pidNamespaceOf);
      const container = new Container(this.containerTools, { id, spec });
      for (const undo of scope.release()) container.scope.add(undo);
      this.containers.set(id, container);
      await container.create({
        id,
        spec,
        rootfs,
        resources: request.spec?.resources,
        files: request.spec?.files ?? [],
        streams: request.streams ?? { stdin: 0, stdout: 0, stderr: 0 },
        ...(joined === undefined ? {} : { pidNamespace: joined }),
      });
      return container;
    } catch (error) {
      const container = this.containers.get(id) ?? placeholder;
      // The first failure is what matters; what the undo meets follows from it.
      await container.dismantle().catch(() => {});
      this.containers.delete(id);
      throw error;
    }
  }

  /** pidfd of the init of the container whose namespace is joined. */
  private pidNamespace(containerId: string): number | undefined {
    if (containerId === '') return undefined;
    const { id, phase, init } = this.container(containerId);
    if (phase !== 'created' && phase !== 'running') {
      throw new TskataError(Code.FailedPrecondition, `join the pid namespace of container ${id}: it is ${phase}`);
    }
    return init.child.pidfd;
  }

  private async makeStorages(request: CreateContainerRequest, { scope, spec }: Container): Promise<void> {
    const idMap = spec.namespaces.includes('user') ? await openIdMap(this.tools, spec) : undefined;
    try {
      for (const [index, storage] of request.storages.entries()) {
        await this.storages.make(`storages[${index}]`, storage, scope, idMap);
      }
    } finally {
      if (idMap !== undefined) close(this.tools.sys, idMap.fd);
    }
  }

  async deleteContainer(id: string): Promise<void> {
    const container = this.container(id);
    try {
      await container.delete(false);
    } finally {
      if (container.phase === 'deleting') this.containers.delete(id);
    }
  }

  /** Ends everything. Settles when all is undone, or every undo has failed by its deadline. */
  async destroy(): Promise<void> {
    const all = [...this.containers.values()].filter((container) => container.phase !== 'creating');
    await Promise.all(all.map((container) => container.delete(true).catch(() => {})));
    for (const container of all) this.containers.delete(container.id);
  }

  get containerCount(): number {
    return this.containers.size;
  }

  private reportExit(containerId: string, execId: string, process: Process): void {
    const { exit } = process;
    if (exit === undefined) return;
    const event = { exitStatus: exit.status, exitedAtNs: exit.exitedAtNs };
    this.events.push({ containerId, execId, oom: undefined, exit: event });
  }
}

function bare(request: CreateContainerRequest): CreateContainerRequest['spec'] {
  if (request.spec === undefined) throw invalid('spec', 'is missing');
  return { ...request.spec, mounts: [] };
}

function placeholderStorage(): never {
  throw invalid('spec', 'names a storage');
}
