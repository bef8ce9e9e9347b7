/**
 * Owns one container: its cgroup, its init, its execs, and the phase that says which call is legal. Storages, plans and
 * streams are made by others; here they are put together, each with its undo.
 */

import { ProcessIo, type StreamIds } from '../io/process-io.ts';
import { CONTAINERS_CGROUP } from '../paths.ts';
import { Code, TskataError } from '../protocol/errors.ts';
import type { GuestFile, Resources } from '../protocol/generated/agent.ts';
import { Scope } from '../protocol/scope.ts';
import { makeCopyUps } from '../storage/copy-up.ts';
import { close, open, writeFile } from '../sys/calls.ts';
import { idMapText } from '../sys/id-maps.ts';
import { CLONE, O, SIG } from '../sys/linux.ts';
import { Cgroup } from './cgroup/cgroup.ts';
import { DeviceGuard } from './cgroup/device-guard.ts';
import { parseFlatKeyed } from './cgroup/stats.ts';
import type { ContainerTools } from './container-tools.ts';
import { guestId } from './ids.ts';
import type { SyncHandler } from './launch.ts';
import type { Filter } from './plan/identity.ts';
import { CREATED_SYNC, MAP_SYNC, planInit } from './plan/init.ts';
import { isDevMount } from './plan/mounts.ts';
import { type NamespacePlan, planNamespaces } from './plan/namespaces.ts';
import type { RootSource } from './plan/rootfs.ts';
import { compileFilter, makeDirectories, makeNodes, writeFiles } from './preparation.ts';
import { Process, waitForEnds } from './process.ts';
import type { ContainerSpec, ProcessSpec } from './spec.ts';
import { EXEC_TIMEOUT_MS, startExec } from './start-exec.ts';
import { withHome } from './user.ts';
import { guestOwner, lookUpUser } from './user-files.ts';

/** Mounts of a container may include shares whose daemon is slow. */
const CREATE_TIMEOUT_MS = 30_000;

/** creating -> created -> running -> stopped; deleting from any of them but creating. */
export type ContainerPhase = 'creating' | 'created' | 'running' | 'stopped' | 'deleting';

/** What a container is made from. */
export interface ContainerInput {
  readonly id: string;
  readonly spec: ContainerSpec;
  readonly rootfs: RootSource & { readonly readOnly: boolean };
  readonly resources: Resources | undefined;
  readonly files: readonly GuestFile[];
  readonly streams: StreamIds;
  /** pidfd of the process whose pid namespace is joined. */
  readonly pidNamespace?: number;
}

/** A container of the sandbox. */
export class Container {
  readonly id: string;
  readonly spec: ContainerSpec;
  readonly scope = new Scope();
  phase: ContainerPhase = 'creating';
  paused = false;
  private readonly tools: ContainerTools;
  private readonly namespaces: NamespacePlan;
  private readonly execs = new Map<string, Process>();
  private readonly starting = new Set<string>();
  private group: Cgroup | undefined;
  private devices: DeviceGuard | undefined;
  private main: Process | undefined;
  private filter: Filter | undefined;
  private cgroupNamespaceFd: number | undefined;
  private oomKills = 0n;

  constructor(tools: ContainerTools, input: Pick<ContainerInput, 'id' | 'spec'>) {
    this.tools = tools;
    this.id = input.id;
    this.spec = input.spec;
    this.namespaces = planNamespaces(input.spec.namespaces, input.spec.pidNamespaceOf !== '');
  }

  get init(): Process {
    if (this.main === undefined) throw this.wrongPhase('use', 'it has no process yet');
    return this.main;
  }

  get cgroup(): Cgroup {
    if (this.group === undefined) throw this.wrongPhase('use', 'it has no cgroup yet');
    return this.group;
  }

  /** Whether the container has a network namespace of its own. */
  get hasNetwork(): boolean {
    return (this.namespaces.cloneFlags & CLONE.NEWNET) !== 0;
  }

  /** CLONE_NEW* flags of what a process joins with init's pidfd. */
  get joinFlags(): number {
    return this.namespaces.joinFlags;
  }

  /** Makes everything up to a child that stands before its exec. On failure the caller closes `scope`. */
  async create(input: ContainerInput): Promise<void> {
    const { sys, loop } = this.tools;
    const { spec } = this;
    this.group = this.makeCgroup(input.resources);
    const directory = makeDirectories(sys, this.id, this.scope);
    const files = writeFiles(sys, directory, input.files, spec, this.scope);
    if (spec.seccomp !== undefined) this.filter = compileFilter(sys, spec.seccomp);
    const userNamespace = (this.namespaces.cloneFlags & CLONE.NEWUSER) !== 0;
    // A /dev without a mount of its own may be a directory of the host, which takes no nodes either.
    const bindsNodes = userNamespace || !spec.mounts.some(isDevMount);
    const nodeDirectory = bindsNodes ? makeNodes(sys, spec.devices) : undefined;
    const { path, subpath } = input.rootfs;
    const user = await lookUpUser(this.tools, spec.process, { root: path, subpath, cgroupFd: this.group.fd });
    const io = new ProcessIo(
      sys,
      loop,
      this.tools.accept,
      input.streams,
      spec.process.terminal,
      guestOwner(spec, user),
    );
    this.scope.add(() => io.close());
    const cgroupFd = this.group.fd;
    const mounts = await makeCopyUps(this.tools, spec.mounts, { root: input.rootfs, cgroupFd, directory }, this.scope);
    const plan = planInit({
      containerId: this.id,
      spec: { ...spec, mounts, rootReadonly: spec.rootReadonly || input.rootfs.readOnly },
      namespaces: this.namespaces,
      rootfs: input.rootfs,
      mountPoint: `${directory}/root`,
      files,
      identity: user.identity,
      env: withHome(spec.process.env, user.home),
      ...(this.filter === undefined ? {} : { filter: this.filter }),
      ...(nodeDirectory === undefined ? {} : { nodeDirectory }),
      cgroupPath: this.group.path,
      cgroupFd: this.group.fd,
      ...(io.childFds === undefined ? {} : { stdio: io.childFds }),
      ...(input.pidNamespace === undefined ? {} : { enter: [{ fd: input.pidNamespace, type: CLONE.NEWPID }] }),
    });
    const main = await Process.create(this.tools, {
      plan,
      hold: CREATED_SYNC,
      spec: spec.process,
      io,
      handlers: new Map<string, SyncHandler>([[MAP_SYNC, (child) => this.writeMaps(child.pid)]]),
      wasOomKilled: () => this.noticeOom(),
      timeoutMs: CREATE_TIMEOUT_MS,
    });
    this.adopt(main);
  }

  private adopt(main: Process): void {
    const { sys } = this.tools;
    this.main = main;
    this.scope.add(() => main.close());
    if (this.namespaces.unshareCgroup) {
      const fd = open(sys, `/proc/${main.pid}/ns/cgroup`, O.RDONLY);
      this.cgroupNamespaceFd = fd;
      this.scope.add(() => close(sys, fd));
    }
    this.phase = 'created';
    main.child.onEnd(() => {
      if (this.phase !== 'deleting') this.phase = 'stopped';
      // With a pid namespace of its own the kernel does it.
      if (this.spec.pidNamespaceOf !== '') this.cgroup.killAll();
      this.tools.onExit(this.id, '', main);
    });
  }

  /** Starts init. A program that cannot be started leaves the container stopped. */
  async start(): Promise<void> {
    if (this.phase !== 'created') throw this.wrongPhase('start');
    await this.init.start(EXEC_TIMEOUT_MS, this.tools);
    if (this.phase === 'created') this.phase = 'running';
  }

  /** Runs one more process. Settles at its exec. */
  async exec(execId: string, process: ProcessSpec, streams: StreamIds): Promise<Process> {
    if (this.phase !== 'running') throw this.wrongPhase('exec in');
    if (this.paused) throw this.wrongPhase('exec in', 'it is paused');
    if (this.execs.has(execId) || this.starting.has(execId)) {
      throw new TskataError(Code.AlreadyExists, `exec in container ${this.id}: there is a process ${execId}`);
    }
    this.starting.add(execId);
    try {
      const started = await startExec(this.tools, {
        process,
        streams,
        init: this.init.child,
        cgroupFd: this.cgroup.fd,
        joinFlags: this.namespaces.joinFlags,
        cgroupNamespaceFd: this.cgroupNamespaceFd,
        filter: this.filter,
        mappings: this.spec,
        wasOomKilled: () => this.noticeOom(),
      });
      this.execs.set(execId, started);
      started.child.onEnd(() => this.tools.onExit(this.id, execId, started));
      return started;
    } finally {
      this.starting.delete(execId);
    }
  }

  /** Init for an empty id. Throws TskataError: not found. */
  process(execId: string): Process {
    if (execId === '') return this.init;
    const process = this.execs.get(execId);
    if (process === undefined) {
      throw new TskataError(Code.NotFound, `find process: container ${this.id} has no process ${execId}`);
    }
    return process;
  }

  /** Forgets an ended exec. */
  deleteProcess(execId: string): void {
    const process = this.process(execId);
    if (execId === '' || process.phase !== 'stopped') {
      throw new TskataError(
        Code.FailedPrecondition,
        `delete process ${execId} of container ${this.id}: it is not stopped`,
      );
    }
    this.execs.delete(execId);
    process.close();
  }

  /** Kills an exec that nobody waits for, and forgets it. */
  async endExec(execId: string): Promise<void> {
    const process = this.process(execId);
    process.child.signal(SIG.KILL);
    await waitForEnds(this.tools.loop, [process]);
    this.deleteProcess(execId);
  }

  signalAll(signal: number): void {
    if (signal === SIG.KILL) this.cgroup.killAll();
    else this.cgroup.signalAll(signal);
  }

  async pause(): Promise<void> {
    if (this.phase !== 'running' && this.phase !== 'created') throw this.wrongPhase('pause');
    await this.cgroup.freeze();
    this.paused = true;
  }

  resume(): void {
    if (!this.paused) throw this.wrongPhase('resume', 'it is not paused');
    this.cgroup.thaw();
    this.paused = false;
  }

  update(resources: Resources): void {
    if (this.phase !== 'created' && this.phase !== 'running') throw this.wrongPhase('update');
    this.cgroup.apply(resources);
    if (resources.devices.length > 0) this.devices?.apply(resources.devices, this.spec.devices);
  }

  /** Ends what still runs and undoes everything. Legal in every phase but creating, and for running ones only by force. */
  async delete(force: boolean): Promise<void> {
    if (this.phase === 'creating' || this.phase === 'deleting') throw this.wrongPhase('delete');
    if (this.phase === 'running' && !force) throw this.wrongPhase('delete', 'it is running');
    this.phase = 'deleting';
    await this.dismantle();
  }

  /** For `delete`, and for the end of a failed create. Rejects with the first failure after everything was tried. */
  async dismantle(): Promise<void> {
    this.group?.killAll();
    const processes = [...this.execs.values(), ...(this.main === undefined ? [] : [this.main])];
    await waitForEnds(this.tools.loop, processes);
    for (const process of this.execs.values()) process.close();
    this.execs.clear();
    const [first] = await this.scope.close();
    if (first !== undefined) throw first;
  }

  /** A refusal that names the phase. */
  wrongPhase(verb: string, fact = `it is ${this.phase}`): TskataError {
    return new TskataError(Code.FailedPrecondition, `${verb} container ${this.id}: ${fact}`);
  }

  private makeCgroup(resources: Resources | undefined): Cgroup {
    const group = new Cgroup(this.tools.sys, this.tools.loop, `${CONTAINERS_CGROUP}/${this.id}`);
    this.scope.add(() => group.remove());
    if (resources !== undefined) group.apply(resources);
    this.devices = new DeviceGuard(this.tools.sys, group.fd);
    this.devices.apply(resources?.devices ?? [], this.spec.devices);
    this.scope.add(() => this.devices?.close());
    const { uidMappings, gidMappings } = this.spec;
    if (this.namespaces.unshareCgroup && uidMappings.length > 0) {
      group.delegate(guestId(uidMappings, 0) ?? 0, guestId(gidMappings, 0) ?? 0);
    }
    const unwatch = group.watch('memory.events', () => this.noticeOom());
    this.scope.add(unwatch);
    return group;
  }

  /** Whether the kernel has killed a process of the container for memory; tells the sandbox once per kill. */
  private noticeOom(): boolean {
    const kills = parseFlatKeyed(this.cgroup.read('memory.events')).get('oom_kill') ?? 0n;
    if (kills > this.oomKills) {
      this.oomKills = kills;
      this.tools.onOom(this.id, kills);
    }
    return kills > 0n;
  }

  private writeMaps(pid: number): void {
    writeFile(this.tools.sys, `/proc/${pid}/uid_map`, idMapText(this.spec.uidMappings));
    writeFile(this.tools.sys, `/proc/${pid}/gid_map`, idMapText(this.spec.gidMappings));
  }
}
