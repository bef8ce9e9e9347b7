/** A whole shim in this process, on a real socket in a temporary directory, with a fake machine behind it. */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MAX_TTRPC_MESSAGE_BYTES } from '../../agent/protocol/limits.ts';
import type { Client } from '../../agent/protocol/service.ts';
import { createClient, TtrpcClient } from '../../agent/protocol/ttrpc/client.ts';
import { ChannelPipe } from '../../agent/protocol/ttrpc/pipe.ts';
import { connectAgent } from '../../runtime/agent-client/agent-connection.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { type Logger, silentLogger } from '../../runtime/host/log.ts';
import { run } from '../../runtime/host/process.ts';
import { socketChannel } from '../../runtime/host/socket-channel.ts';
import { noNetwork } from '../../runtime/sandbox/network.ts';
import { StateStore } from '../../runtime/state/store.ts';
import type { Assign } from '../../shim/assign.ts';
import { Records } from '../../shim/records.ts';
import { Shim } from '../../shim/shim.ts';
import type { TopicEvent } from '../../shim/task/events.ts';
import { Task } from '../../shim/task/generated/task.ts';
import { FakeVmFactory } from './fake-guest.ts';

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

export class ShimHarness {
  readonly directory: string;
  readonly assign: Assign;
  readonly store: StateStore;
  readonly vms = new FakeVmFactory();
  readonly events: TopicEvent[] = [];
  readonly mounts: MountCall[] = [];
  readonly shim: Shim;
  task!: Client<typeof Task>;
  #socket: Socket | undefined;

  private constructor(directory: string, assign: Assign, server: Server, log: Logger) {
    this.directory = directory;
    this.assign = assign;
    this.store = new StateStore(assign.runRoot);
    this.shim = this.#shim(server, log);
  }

  async #connect(): Promise<this> {
    this.#socket = connect(this.assign.socketPath);
    await once(this.#socket, 'connect');
    const channel = socketChannel(this.#socket);
    this.task = createClient(Task, new TtrpcClient(new ChannelPipe(channel, MAX_TTRPC_MESSAGE_BYTES), nodeClock));
    channel.setReading(true);
    return this;
  }

  static async start(
    options: { readonly containerdAddress?: string; readonly log?: Logger } = {},
  ): Promise<ShimHarness> {
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
      debug: true,
    };
    const server = createServer();
    const harness = new ShimHarness(directory, assign, server, options.log ?? silentLogger);
    server.listen(assign.socketPath);
    await once(server, 'listening');
    return await harness.#connect();
  }

  #shim(server: Server, log: Logger): Shim {
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
        networks: { open: () => Promise.resolve(noNetwork) },
      },
      sandboxConfig: {
        id: this.assign.id,
        shareRoot: join(directory, 'share'),
        kernel: '/kernel',
        initrd: '/initrd',
        profile: 'auto',
        debug: false,
      },
      publisher: {
        publish: (event) => void this.events.push(event),
        drain: () => Promise.resolve(),
        close: () => undefined,
      },
      records: new Records(this.assign, this.store, () => undefined),
      store: this.store,
      clock: nodeClock,
      log,
      release: () => Promise.resolve(),
    });
  }

  /** Topics so far, without "/tasks/". */
  get topics(): string[] {
    return this.events.map((event) => event.topic.replace('/tasks/', ''));
  }

  /** Writes a bundle whose init is `args`. */
  bundle(
    id: string,
    args: readonly string[],
    more: { annotations?: Record<string, string>; mounts?: object[]; terminal?: boolean } = {},
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
      linux: { namespaces: [{ type: 'pid' }, { type: 'mount' }] },
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
    this.#socket?.destroy();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Squashfs layers and a scratch disk: what an image looks like to Create. */
export const IMAGE_ROOTFS = [
  { type: 'squashfs', source: '/images/layer0.squashfs', target: '', options: ['ro'] },
  { type: 'squashfs', source: '/images/layer1.squashfs', target: '', options: ['ro'] },
  { type: 'ext4', source: '/images/scratch.ext4', target: '', options: ['rw'] },
];
