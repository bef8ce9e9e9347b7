/** A whole shim in this process, on a real socket in a temporary directory, with a fake machine behind it. */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../agent/protocol/channel.ts';
import type { TskataError } from '../../agent/protocol/errors.ts';
import type { Client } from '../../agent/protocol/service.ts';
import { connectAgent } from '../../runtime/agent-client/agent-connection.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { type Logger, silentLogger } from '../../runtime/host/log.ts';
import { run } from '../../runtime/host/process.ts';
import { noHostGroup } from '../../runtime/sandbox/host-group.ts';
import { noNetwork, type OpenNetwork } from '../../runtime/sandbox/network.ts';
import type { StandIn } from '../../runtime/sandbox/stand-in.ts';
import { StateStore } from '../../runtime/state/store.ts';
import type { Assign } from '../../shim/assign.ts';
import { runHook } from '../../shim/hooks.ts';
import { Records } from '../../shim/records.ts';
import { Shim } from '../../shim/shim.ts';
import type { TopicEvent } from '../../shim/task/events.ts';
import type { Task } from '../../shim/task/generated/task.ts';
import { FakeVmFactory } from './fake-guest.ts';
import { testPolicies } from './policies.ts';
import { connectShim, type ShimClient } from './shim-client.ts';

/** Where a test wrote its configuration, and what Create needs beside it. */
export interface TestBundle {
  readonly id: string;
  readonly bundle: string;
}

export interface MountCall {
  readonly what: 'mount' | 'unmount';
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
}

/** What differs from a shim of the `tskata` command. */
interface HarnessOptions {
  readonly containerdAddress?: string;
  readonly enabledAnnotations?: readonly string[];
  readonly refusal?: TskataError;
  readonly log?: Logger;
  readonly clock?: Clock;
}

export class ShimHarness {
  readonly directory: string;
  readonly assign: Assign;
  readonly store: StateStore;
  readonly vms = new FakeVmFactory();
  /** What the next machine gets. */
  network: OpenNetwork = noNetwork;
  readonly events: TopicEvent[] = [];
  readonly mounts: MountCall[] = [];
  /** Living stand-ins: container id to what kills it from outside. */
  readonly standIns = new Map<string, () => void>();
  readonly shim: Shim;
  task!: Client<typeof Task>;
  #disconnect: () => void = () => undefined;
  #nextPid = 4_000_000;

  private constructor(directory: string, assign: Assign, server: Server, options: HarnessOptions) {
    this.directory = directory;
    this.assign = assign;
    this.store = new StateStore(assign.runRoot);
    this.shim = this.#shim(server, options);
  }

  async #connect(): Promise<this> {
    const { task, close } = await this.client();
    this.task = task;
    this.#disconnect = close;
    return this;
  }

  /** A further connection. */
  client(service?: string): Promise<ShimClient> {
    return connectShim(this.assign.socketPath, service);
  }

  /** Leaves the shim without a client. */
  disconnect(): void {
    this.#disconnect();
  }

  static async start(options: HarnessOptions = {}): Promise<ShimHarness> {
    const directory = mkdtempSync(join(tmpdir(), 'tskata-shim-'));
    const assign: Assign = {
      namespace: 'test',
      id: 'sandbox',
      bundle: join(directory, 'bundle'),
      socketPath: join(directory, 'shim.sock'),
      runRoot: join(directory, 'run'),
      libRoot: join(directory, 'lib'),
      containerdAddress: options.containerdAddress ?? '',
      ttrpcAddress: '',
      publishBinary: '',
      caller: options.containerdAddress === undefined ? 'command' : 'containerd',
      configPath: '',
      debug: true,
    };
    const server = createServer();
    const harness = new ShimHarness(directory, assign, server, options);
    server.listen(assign.socketPath);
    await once(server, 'listening');
    return await harness.#connect();
  }

  #shim(server: Server, options: HarnessOptions): Shim {
    const { enabledAnnotations, refusal, log = silentLogger, clock = nodeClock } = options;
    const directory = this.store.prepare(this.assign.namespace, this.assign.id);
    return new Shim({
      assign: this.assign,
      server,
      sandbox: {
        vmFactory: this.vms,
        connectGuest: connectAgent,
        hostMounts: {
          mount: ({ source, target, options }) => {
            this.mounts.push({ what: 'mount', source, target, options });
            return Promise.resolve();
          },
          unmount: (target) => {
            this.mounts.push({ what: 'unmount', source: '', target, options: [] });
            return Promise.resolve();
          },
        },
        startStandIn: (containerId) => Promise.resolve(this.#standIn(containerId)),
        runHook,
        hostGroup: noHostGroup,
        networks: { open: () => Promise.resolve(this.network) },
      },
      sandboxConfig: {
        id: this.assign.id,
        shareRoot: join(directory, 'share'),
        kernel: '/kernel',
        initrd: '/initrd',
        profile: 'auto',
        debug: false,
        ...testPolicies(this.assign.caller, enabledAnnotations),
      },
      publisher: {
        publish: (event) => void this.events.push(event),
        drain: () => Promise.resolve(),
        close: () => undefined,
      },
      records: new Records(this.assign, this.store, () => undefined),
      store: this.store,
      clock,
      log,
      ...(refusal === undefined ? {} : { refusal }),
      release: () => Promise.resolve(),
    });
  }

  /** Numbers that no process has: the harness has no host behind it. */
  #standIn(containerId: string): StandIn {
    const end = Promise.withResolvers<boolean>();
    const finish = (byItself: boolean): void => {
      this.standIns.delete(containerId);
      end.resolve(byItself);
    };
    this.standIns.set(containerId, () => finish(true));
    this.#nextPid += 1;
    return {
      pid: this.#nextPid,
      ended: end.promise,
      end: async () => {
        finish(false);
        await end.promise;
      },
    };
  }

  /** Topics so far, without "/tasks/". */
  get topics(): string[] {
    return this.events.map((event) => event.topic.replace('/tasks/', ''));
  }

  /** Writes a bundle whose init is `args`. */
  bundle(
    id: string,
    args: readonly string[],
    more: { annotations?: Record<string, string>; mounts?: object[]; terminal?: boolean; hooks?: object } = {},
  ): TestBundle {
    const bundle = join(this.directory, `bundle-${id}`);
    mkdirSync(join(bundle, 'rootfs'), { recursive: true });
    const config = {
      ociVersion: '1.1.0',
      process: { args, cwd: '/', env: ['PATH=/bin'], user: { uid: 0, gid: 0 }, terminal: more.terminal ?? false },
      root: { path: 'rootfs' },
      hostname: 'guest',
      mounts: more.mounts ?? [{ destination: '/proc', type: 'proc', source: 'proc' }],
      annotations: more.annotations ?? {},
      hooks: more.hooks ?? {},
      linux: { namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'network' }] },
    };
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
    return { id, bundle };
  }

  /** Creates FIFOs and returns their paths. */
  async fifos(...names: readonly string[]): Promise<string[]> {
    const paths = names.map((name) => join(this.directory, name));
    await run('mkfifo', paths, { timeoutMs: 5_000 });
    return paths;
  }

  record(id: string): unknown {
    return JSON.parse(readFileSync(join(this.store.directory('test', id), 'state.json'), 'utf8'));
  }

  async stop(): Promise<void> {
    await this.shim.shutdown('test');
    await this.shim.ended;
    this.#disconnect();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Squashfs layers and a scratch disk: what an image looks like to Create. */
export const IMAGE_ROOTFS = [
  { type: 'squashfs', source: '/images/layer0.squashfs', target: '', options: ['ro'] },
  { type: 'squashfs', source: '/images/layer1.squashfs', target: '', options: ['ro'] },
  { type: 'ext4', source: '/images/scratch.ext4', target: '', options: ['rw'] },
];
