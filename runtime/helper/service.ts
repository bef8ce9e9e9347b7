/**
 * HelperService: each method is one or two calls into the parts. It holds what they share and undoes it at the end.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Helper, SpawnRequest } from '../../agent/protocol/generated/helper.ts';
import type { Handlers } from '../../agent/protocol/service.ts';
import { close, open, readlink } from '../../agent/sys/calls.ts';
import { O } from '../../agent/sys/linux.ts';
import type { Loop, Sys } from '../../agent/sys/sys.ts';
import { createEgressCgroup, type EgressCgroup, removeCgroup } from './cgroup.ts';
import { Descriptors, openDisk } from './descriptors.ts';
import { HostMounts } from './host-mounts.ts';
import { MAX_DESCRIPTORS } from './jail.ts';
import { buildCopyPlan, buildJailPlan } from './jail-plan.ts';
import { readDescriptor, readJail } from './jail-request.ts';
import { SandboxNetwork } from './namespaces.ts';
import { Processes } from './processes.ts';
import { QmpDescriptors } from './qmp-descriptors.ts';
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
  /** Directory of the lock files of user ids. */
  readonly uidDirectory: string;
  readonly pid: number;
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
  private monitor: QmpDescriptors | undefined;
  private copies = 0;

  constructor(sys: Sys, loop: Loop, environment: SandboxEnvironment) {
    this.sys = sys;
    this.loop = loop;
    this.environment = environment;
    this.processes = new Processes(sys, loop);
    this.mounts = new HostMounts(sys);
    this.network = new SandboxNetwork(sys);
    this.descriptors = new Descriptors(sys, environment.inherited, environment.workspace, (name) =>
      this.network.openTap(name),
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
      wait: async ({ name }) => ({ exitStatus: await this.processes.wait(name) }),
      addDescriptor: async ({ fdset, file }) => {
        if (file === undefined) throw new TskataError(Code.InvalidArgument, 'add descriptor: no file');
        await this.addDescriptor(fdset, file.path, file.writable);
        return {};
      },
      mount: ({ type, source, target, options }) => {
        this.mounts.mount(type, source, target, options);
        return {};
      },
      unmount: ({ target }) => {
        this.mounts.unmount(target);
        return {};
      },
      openNetwork: ({ path }) => ({ path: this.network.open(path, this.environment.pid) }),
      copySparse: async ({ source, target }) => {
        await this.copySparse(source, target);
        return {};
      },
      claimUser: ({ first, count }) => ({ uid: claimUser(this.sys, this.environment.uidDirectory, first, count) }),
    };
  }

  /** Kills all children and removes what would outlive the helper. */
  async end(): Promise<void> {
    await this.processes.end();
    for (const cgroup of this.cgroups) removeCgroup(this.sys, cgroup.path);
  }

  private async spawn(request: SpawnRequest): Promise<number> {
    const { name, executable, jail } = request;
    if (!/^[a-z0-9][a-z0-9_.-]{0,63}$/.test(name)) {
      throw new TskataError(Code.InvalidArgument, `spawn: name ${JSON.stringify(name)}: not a plain word`);
    }
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
      const cgroup = restricted ? createEgressCgroup(this.sys, `${this.environment.pid}-${name}`, rules) : undefined;
      if (cgroup !== undefined) this.cgroups.push(cgroup);
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

  private async addDescriptor(fdset: number, path: string, writable: boolean): Promise<void> {
    this.monitor ??= new QmpDescriptors(this.sys, this.loop, this.descriptors.takePair(QMP_PAIR));
    const fd = openDisk(this.sys, path, writable);
    try {
      await this.monitor.add(fdset, fd);
    } finally {
      close(this.sys, fd);
    }
  }

  /** In a process of its own: gigabytes take seconds, and the helper must answer meanwhile. */
  private async copySparse(source: string, target: string): Promise<void> {
    this.copies += 1;
    const name = `copy-${this.copies}`;
    const own = readlink(this.sys, '/proc/self/exe');
    await this.processes.start(name, buildCopyPlan(own, source, target, this.devNull));
    const status = await this.processes.wait(name);
    if (status !== 0) {
      throw new TskataError(
        Code.Unknown,
        `copy ${source} to ${target}: failed with status ${status} - see the helper's log`,
      );
    }
  }
}
