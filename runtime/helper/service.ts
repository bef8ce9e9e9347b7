/**
 * HelperService: each method is one or two calls into the parts. It holds what they share and undoes it at the end.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { GroupLimits, Helper, SpawnRequest } from '../../agent/protocol/generated/helper.ts';
import type { Handlers } from '../../agent/protocol/service.ts';
import { close, open } from '../../agent/sys/calls.ts';
import { O } from '../../agent/sys/linux.ts';
import type { Loop, Sys } from '../../agent/sys/sys.ts';
import { createEgressCgroup, type EgressCgroup, egressPath, removeCgroup } from './cgroup.ts';
import { Descriptors, openDisk } from './descriptors.ts';
import type { EgressRules } from './egress.ts';
import { HostMounts, type MountNamespaces } from './host-mounts.ts';
import { MAX_DESCRIPTORS } from './jail.ts';
import { buildCopyPlan, buildJailPlan } from './jail-plan.ts';
import { readDescriptor, readJail } from './jail-request.ts';
import { SandboxNetwork } from './namespaces.ts';
import { sendHandle } from './node-handles.ts';
import { PodNetwork } from './pod-network.ts';
import { Processes } from './processes.ts';
import { QmpDescriptors } from './qmp-descriptors.ts';
import { SandboxGroup } from './sandbox-group.ts';
import { buildStandInPlan } from './stand-in.ts';
import { claimUser } from './users.ts';

/** The pair whose one end QEMU gets as a second monitor. */
const QMP_PAIR = 'qmp-fd';

/** The helper's own standard error. */
const LOG_FD = 2;

/** What the helper knows from its start. */
export interface SandboxEnvironment {
  readonly inherited: ReadonlyMap<string, number>;
  /** Mount point that children may cover; in the helper itself a private tmpfs. */
  readonly workspace: string;
  /** Where lists of cgroups are kept. */
  readonly runRoot: string;
  readonly pid: number;
  readonly shimPid: number;
  /** The shim's channel for handles. */
  readonly handles: number | undefined;
  readonly mountNamespaces: MountNamespaces;
}

/** The parts of one sandbox's helper. */
export class SandboxService {
  private readonly sys: Sys;
  private readonly loop: Loop;
  private readonly environment: SandboxEnvironment;
  private readonly processes: Processes;
  private readonly descriptors: Descriptors;
  private readonly mounts: HostMounts;
  private readonly network: SandboxNetwork;
  private readonly cgroups: EgressCgroup[] = [];
  private readonly devNull: number;
  private group: SandboxGroup | undefined;
  private monitor: QmpDescriptors | undefined;
  private pod: PodNetwork | undefined;
  private copies = 0;

  constructor(sys: Sys, loop: Loop, environment: SandboxEnvironment) {
    this.sys = sys;
    this.loop = loop;
    this.environment = environment;
    this.processes = new Processes(sys, loop);
    this.mounts = new HostMounts(sys, environment.mountNamespaces);
    this.network = new SandboxNetwork(sys);
    this.descriptors = new Descriptors(
      sys,
      environment.inherited,
      environment.workspace,
      (name) => this.pod?.carried.take(name) ?? this.network.openTap(name),
    );
    this.devNull = open(sys, '/dev/null', O.RDWR);
  }

  /** For `bind` of the protocol. */
  handlers(): Handlers<typeof Helper> {
    return {
      spawn: async (request) => ({ pid: await this.spawn(request) }),
      signal: ({ name, signal }) => {
        this.processes.signal(name, signal);
        return {};
      },
      wait: async ({ name }) => {
        const exitStatus = await this.processes.wait(name);
        this.processes.forget(name);
        return { exitStatus };
      },
      startStandIn: async ({ name, title, networkPath }) => {
        requireProcessName(name);
        const plan = buildStandInPlan(title, this.network.ensure(networkPath), this.devNull);
        return { pid: await this.processes.start(name, plan) };
      },
      addDescriptor: async ({ fdset, file }) => {
        if (file === undefined) throw new TskataError(Code.InvalidArgument, 'add descriptor: no file');
        await this.addDescriptor(fdset, file.path, file.writable);
        return {};
      },
      mount: (request) => {
        this.mounts.mount(request);
        return {};
      },
      unmount: ({ target }) => {
        this.mounts.unmount(target);
        return {};
      },
      enterGroup: ({ path, limits, ownParents }) => ({ missing: this.enterGroup(path, limits, ownParents) }),
      limitGroup: (limits) => {
        if (this.group === undefined) throw new TskataError(Code.FailedPrecondition, 'limit cgroup: in none');
        return { missing: this.group.limit(limits) };
      },
      ...this.podHandlers(),
      openNetwork: ({ path }) => ({ path: this.network.open(path, this.environment.pid) }),
      copySparse: async ({ source, target }) => {
        await this.copySparse(source, target);
        return {};
      },
      claimVsock: () => ({ cid: this.descriptors.vsock.claim() }),
      claimUser: ({ first, count }) => ({ uid: claimUser(this.sys, first, count) }),
    };
  }

  private podHandlers(): Pick<
    Handlers<typeof Helper>,
    | 'closeNetwork'
    | 'readNetwork'
    | 'waitNetworkChange'
    | 'carryInterface'
    | 'dropInterface'
    | 'addTap'
    | 'listenLoopback'
  > {
    return {
      closeNetwork: () => {
        this.closeNetwork();
        return {};
      },
      readNetwork: () => this.podNetwork().read(),
      waitNetworkChange: async () => {
        await this.podNetwork().changed();
        return {};
      },
      carryInterface: ({ index }) => ({ tap: this.podNetwork().carried.carry(index) }),
      dropInterface: ({ index }) => {
        this.podNetwork().carried.drop(index);
        return {};
      },
      addTap: async ({ netdev, tap, vhost }) => {
        await this.addTap(netdev, tap, vhost);
        return {};
      },
      listenLoopback: () => {
        this.listenLoopback();
        return {};
      },
    };
  }

  /** Kills all children and removes what would outlive the helper. */
  async end(): Promise<void> {
    await this.processes.end();
    this.pod?.end();
    for (const cgroup of this.cgroups) removeCgroup(this.sys, cgroup.path);
    this.leaveGroup();
  }

  /** What is not empty yet goes with the next command. */
  leaveGroup(): void {
    this.group?.leave();
  }

  private async spawn(request: SpawnRequest): Promise<number> {
    const { name, executable, jail } = request;
    requireProcessName(name);
    if (jail === undefined) throw new TskataError(Code.InvalidArgument, `spawn ${name}: no jail`);
    if (!executable.startsWith('/') || request.argv.length === 0 || request.descriptors.length > MAX_DESCRIPTORS) {
      throw new TskataError(Code.InvalidArgument, `spawn ${name}: executable, argv or descriptors out of bounds`);
    }
    this.processes.requireFree(name);
    const spec = readJail(this.sys, jail, () => this.network.fd);
    const sources = request.descriptors.map(readDescriptor);
    const descriptors = this.descriptors.openAll(
      request.log === '' ? sources : [...sources, { kind: 'inherited', name: request.log }],
    );
    try {
      const fds = descriptors.map((descriptor) => descriptor.fd);
      const log = request.log === '' ? LOG_FD : (fds.pop() ?? LOG_FD);
      const rules = {
        resolvers: jail.allowedResolvers,
        allowed: jail.allowedDestinations,
        denied: jail.deniedDestinations,
        denyHost: jail.denyHost,
      };
      const restricted = rules.denied.length > 0 || rules.denyHost;
      const cgroup = restricted ? this.restrict(name, rules) : undefined;
      const program = {
        executable,
        argv: request.argv,
        env: request.env,
        stdin: this.devNull,
        log,
        descriptors: fds,
        ...(cgroup === undefined ? {} : { cgroupFd: cgroup.fd }),
      };
      return await this.processes.start(name, buildJailPlan(program, spec, this.environment.workspace));
    } finally {
      this.descriptors.closeAll(descriptors);
    }
  }

  private restrict(name: string, rules: EgressRules): EgressCgroup {
    const path = this.group?.egressPath ?? egressPath(this.sys, `${this.environment.pid}-${name}`);
    const cgroup = createEgressCgroup(this.sys, path, rules);
    this.cgroups.push(cgroup);
    return cgroup;
  }

  private enterGroup(path: string, limits: GroupLimits | undefined, ownParents: boolean): string[] {
    if (this.group !== undefined) throw new TskataError(Code.AlreadyExists, `enter cgroup ${path}: in one already`);
    const { runRoot, pid, shimPid } = this.environment;
    this.group = new SandboxGroup(this.sys, { runRoot, keeperPid: pid, shimPid }, { path, ownParents });
    return limits === undefined ? [] : this.group.limit(limits);
  }

  /** The second monitor of the running QEMU. */
  private qemu(): QmpDescriptors {
    this.monitor ??= new QmpDescriptors(this.sys, this.loop, this.descriptors.takePair(QMP_PAIR));
    return this.monitor;
  }

  private async addDescriptor(fdset: number, path: string, writable: boolean): Promise<void> {
    const fd = openDisk(this.sys, path, writable);
    try {
      await this.qemu().add(fdset, fd);
    } finally {
      close(this.sys, fd);
    }
  }

  private podNetwork(): PodNetwork {
    this.pod ??= new PodNetwork(this.sys, this.loop, this.network);
    return this.pod;
  }

  private closeNetwork(): void {
    this.pod?.end();
    this.pod = undefined;
    this.network.close();
  }

  private async addTap(netdev: string, tap: string, vhost: boolean): Promise<void> {
    const sources = [{ kind: 'tap', name: tap } as const, ...(vhost ? [{ kind: 'vhost-net' } as const] : [])];
    const descriptors = this.descriptors.openAll(sources);
    try {
      const [tapFd, vhostFd] = descriptors.map(({ fd }) => fd);
      if (tapFd !== undefined) await this.qemu().addTap(netdev, tapFd, vhostFd);
    } finally {
      this.descriptors.closeAll(descriptors);
    }
  }

  private listenLoopback(): void {
    const { handles } = this.environment;
    if (handles === undefined) {
      throw new TskataError(Code.FailedPrecondition, 'listen on the loopback: the shim takes no handles');
    }
    const listener = this.podNetwork().listenOnLoopback();
    try {
      sendHandle(this.sys, handles, 'loopback', listener);
    } finally {
      close(this.sys, listener);
    }
  }

  /** In a process of its own: gigabytes take seconds, and the helper must answer meanwhile. */
  private async copySparse(source: string, target: string): Promise<void> {
    this.copies += 1;
    const name = `copy-${this.copies}`;
    await this.processes.start(name, buildCopyPlan(source, target, this.devNull));
    const status = await this.processes.wait(name);
    if (status !== 0) {
      throw new TskataError(
        Code.Unknown,
        `copy ${source} to ${target}: failed with status ${status} - see the helper's log`,
      );
    }
  }
}

function requireProcessName(name: string): void {
  if (!/^[a-z0-9][a-z0-9_.-]{0,63}$/.test(name)) {
    throw new TskataError(Code.InvalidArgument, `spawn: name ${JSON.stringify(name)}: not a plain word`);
  }
}
