/**
 * The built shim as containerd starts it, with a test as its caller: Create with any mounts of a root, any volumes,
 * several containers in one machine. Output goes to files.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { MAX_TTRPC_MESSAGE_BYTES } from '../../agent/protocol/limits.ts';
import type { Client } from '../../agent/protocol/service.ts';
import { createClient, TtrpcClient } from '../../agent/protocol/ttrpc/client.ts';
import { ChannelPipe } from '../../agent/protocol/ttrpc/pipe.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { socketChannel } from '../../runtime/host/socket-channel.ts';
import { StateStore } from '../../runtime/state/store.ts';
import { Task } from '../../shim/task/generated/task.ts';
import { writeBusyboxRoot } from './busybox-root.ts';
import { type TestContainer, testProcess, writeBundle } from './pod-bundle.ts';
import { descendants, holders } from './process-tree.ts';
import { BUILD, eventually } from './tskata.ts';

const NAMESPACE = 'storage';
const PROCESS_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/Process';
const CALL = { timeoutMs: 100_000 };
const ENDED_MS = 10_000;

/** How a process ended and what it printed, both streams together. */
export interface Outcome {
  readonly status: number;
  readonly output: string;
}

/** One shim and the containers in its machine. */
export class PodShim {
  readonly directory: string;
  readonly runRoot: string;
  readonly store: StateStore;
  /** Of the sandbox: its host cgroup has this name, and other tests run meanwhile. */
  readonly #id: string;
  #task: Client<typeof Task> | undefined;
  #socket: Socket | undefined;
  #count = 0;
  readonly #live = new Set<string>();
  readonly #undos: (() => void)[] = [];

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'tsk-'));
    this.#id = basename(this.directory);
    this.runRoot = join(this.directory, 'run');
    this.store = new StateStore(this.runRoot);
    writeBusyboxRoot(join(this.directory, 'busybox'));
  }

  get #env(): NodeJS.ProcessEnv {
    return {
      PATH: process.env.PATH,
      TSKATA_RUN_ROOT: this.runRoot,
      TSKATA_LIB_ROOT: join(this.directory, 'lib'),
    };
  }

  get task(): Client<typeof Task> {
    if (this.#task === undefined) throw new Error('no shim was started');
    return this.#task;
  }

  /** Makes a container; the first starts the shim. Rejects with the shim's error. */
  async create(id: string, container: TestContainer = {}): Promise<void> {
    const bundle = writeBundle(join(this.directory, `bundle-${id}`), join(this.directory, 'busybox'), container);
    this.#task ??= await this.#start(bundle);
    const rootfs = (container.rootfs ?? []).map((mount) => ({ ...mount, target: '' }));
    const output = this.#output(id);
    await this.#task.create({ id, bundle, rootfs, stdout: output, stderr: output }, CALL);
    this.#live.add(id);
  }

  /** Makes and starts one that waits until it is removed. */
  async start(id: string, container: TestContainer = {}): Promise<void> {
    await this.create(id, container);
    await this.task.start({ id }, CALL);
  }

  /** Runs a container to its end and removes it. */
  async run(line: string, container: TestContainer = {}): Promise<Outcome> {
    const id = `run${this.#count++}`;
    await this.start(id, { ...container, line });
    const { exitStatus } = await this.task.wait({ id }, CALL);
    await this.task.delete({ id }, CALL);
    this.#live.delete(id);
    return { status: exitStatus, output: this.output(id) };
  }

  /** Runs a shell line in a started container. */
  async exec(id: string, line: string, capabilities: readonly string[] = []): Promise<Outcome> {
    const execId = `exec${this.#count++}`;
    const output = this.#output(execId);
    const process = JSON.stringify(testProcess(line, capabilities));
    const spec = { typeUrl: PROCESS_TYPE, value: new TextEncoder().encode(process) };
    await this.task.exec({ id, execId, stdout: output, stderr: output, spec }, CALL);
    await this.task.start({ id, execId }, CALL);
    const { exitStatus } = await this.task.wait({ id, execId }, CALL);
    await this.task.delete({ id, execId }, CALL);
    return { status: exitStatus, output: this.output(execId) };
  }

  /** What an exec printed, without white space around it; it must have ended well. */
  async sh(id: string, line: string): Promise<string> {
    const { status, output } = await this.exec(id, line);
    if (status !== 0) throw new Error(`${line}: ended with ${status}: ${output}`);
    return output.trim();
  }

  /** Ends and removes a container. */
  async remove(id: string): Promise<void> {
    const { status } = await this.task.state({ id }, CALL);
    if (status !== 3) {
      await this.task.kill({ id, signal: 9, all: true }, CALL).catch(() => undefined);
      await this.task.wait({ id }, CALL);
    }
    await this.task.delete({ id }, CALL);
    this.#live.delete(id);
  }

  /** Output of a container or exec so far. */
  output(id: string): string {
    const path = join(this.directory, 'out', id);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  /** What the share of the sandbox shows, as it is in the host's mount namespace: names without what is mounted on them. */
  get shareRoot(): string {
    return join(this.runRoot, NAMESPACE, this.#id, 'share');
  }

  /** The keeper, the process whose mount namespace holds everything. */
  get keeperPid(): number {
    const keeper = this.store.list()[0]?.record?.keeper;
    if (keeper === undefined) throw new Error('no record of a keeper');
    return keeper.pid;
  }

  /** Processes below the keeper whose program has this name. */
  programs(name: string): number[] {
    return descendants(this.keeperPid).filter((pid) => {
      const [program = ''] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return program.endsWith(`/${name}`);
    });
  }

  /** Has something undone at the end, after the shim's: a mount of the host, a loop device. */
  atEnd(undo: () => void): void {
    this.#undos.push(undo);
  }

  /** Ends everything. Throws when something was left behind. */
  async dispose(): Promise<void> {
    try {
      for (const id of this.#live) await this.remove(id);
      await this.#task?.shutdown({ id: this.#id, now: true }, CALL);
      this.#socket?.destroy();
      await eventually(() => this.#left().length === 0, ENDED_MS, 'nothing left behind').catch(() => {
        throw new Error(`left behind:\n${this.#left().join('\n')}`);
      });
    } finally {
      for (const undo of this.#undos.toReversed()) undo();
      rmSync(this.directory, { recursive: true, force: true });
    }
  }

  #left(): string[] {
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '');
    return [
      ...mounts.filter((point) => point.startsWith(`${this.runRoot}/`) || /\/bundle-[^/]*\//.test(point)),
      ...entriesOf(join(this.runRoot, 's')).filter((path) => /\.(sock|d)$/.test(path)),
      ...entriesOf(join(this.runRoot, NAMESPACE)),
      ...holders(this.runRoot).map((pid) => `process ${pid}`),
    ];
  }

  async #start(bundle: string): Promise<Client<typeof Task>> {
    // With an address it keeps no records of its own: that is its caller's business.
    const address = join(this.directory, 'c.sock');
    const flags = ['-namespace', NAMESPACE, '-address', address, '-publish-binary', '', '-id', this.#id, 'start'];
    const launcher = join(BUILD, 'bin/containerd-shim-tskata-v2');
    const { stdout } = await promisify(execFile)(launcher, flags, { cwd: bundle, env: this.#env });
    const socket = connect(stdout.trim().replace('unix://', ''));
    await once(socket, 'connect');
    const channel = socketChannel(socket);
    const client = createClient(Task, new TtrpcClient(new ChannelPipe(channel, MAX_TTRPC_MESSAGE_BYTES), nodeClock));
    channel.setReading(true);
    this.#socket = socket;
    return client;
  }

  #output(id: string): string {
    mkdirSync(join(this.directory, 'out'), { recursive: true });
    return `file://${join(this.directory, 'out', id)}`;
  }
}

function entriesOf(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : [];
}
