/**
 * A shim, seen from the command line: started as containerd starts one, spoken to in containerd's Task API. There is no
 * other way in. The one thing more that is said is who speaks (`-caller command`): annotations of `io.tskata.*` that order
 * the network, ports and the log are taken from the command's own bundles alone, since a tenant could write them too.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { MAX_TTRPC_MESSAGE_BYTES } from '../../agent/protocol/limits.ts';
import type { Client } from '../../agent/protocol/service.ts';
import { createClient, TtrpcClient } from '../../agent/protocol/ttrpc/client.ts';
import { ChannelPipe } from '../../agent/protocol/ttrpc/pipe.ts';
import { Task as TaskService } from '../../shim/task/generated/task.ts';
import type { Mount } from '../../shim/task/generated/types.ts';
import { nodeClock } from '../host/clock.ts';
import { run } from '../host/process.ts';
import { socketChannel } from '../host/socket-channel.ts';
import type { ContainerRecord } from '../state/record.ts';
import type { CliContext } from './context.ts';
import type { StdioPaths } from './stdio.ts';
import type { TerminalSize } from './terminal.ts';
import { deadline } from './wait.ts';

/** Includes the start of a machine without KVM on a loaded host. */
const CREATE_DEADLINE_MS = 120_000;
const CALL_DEADLINE_MS = 30_000;
/** A launcher that only starts a process. */
const LAUNCH_DEADLINE_MS = 20_000;
/** Between the answer to Shutdown and the end of the shim. */
const SHIM_EXIT_DEADLINE_MS = 5_000;
/** A failed call and the end of its connection are told one after the other. */
const LOST_MS = 300;
const NO_DEADLINE = 0;
const PROCESS_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/Process';

/** What Create is told beside the bundle. */
export interface CreateRequest {
  readonly rootfs: readonly Mount[];
  readonly terminal: boolean;
  readonly stdio: StdioPaths;
}

/** How a process ended. */
export interface TaskExit {
  /** 0..255; 128 + n for signal n. */
  readonly status: number;
  readonly at: Date;
}

/** One container behind a connection of its own. Errors are TskataErrors in the shim's words. */
export class Task {
  readonly id: string;
  readonly bundle: string;
  readonly #socket: Socket;
  /** The shim closes its connections when it ends. */
  readonly #closed: Promise<void>;
  readonly #calls: Client<typeof TaskService>;

  constructor(id: string, bundle: string, socket: Socket) {
    this.id = id;
    this.bundle = bundle;
    this.#socket = socket;
    this.#closed = new Promise((resolve) => socket.once('close', () => resolve()));
    this.#calls = createClient(
      TaskService,
      new TtrpcClient(new ChannelPipe(socketChannel(socket), MAX_TTRPC_MESSAGE_BYTES), nodeClock),
    );
  }

  /** Whether the connection has ended, or ends in this moment: a shim that lives keeps it. */
  async lost(): Promise<boolean> {
    return await Promise.race([this.#closed.then(() => true), deadline(LOST_MS).then(() => false)]);
  }

  async create(request: CreateRequest): Promise<void> {
    const { rootfs, terminal, stdio } = request;
    await this.#calls.create(
      { id: this.id, bundle: this.bundle, rootfs, terminal, ...stdio },
      { timeoutMs: CREATE_DEADLINE_MS },
    );
  }

  async start(execId: string): Promise<void> {
    await this.#calls.start({ id: this.id, execId }, { timeoutMs: CALL_DEADLINE_MS });
  }

  /** Waits as long as it takes. */
  async wait(execId: string): Promise<TaskExit> {
    const { exitStatus, exitedAt } = await this.#calls.wait({ id: this.id, execId }, { timeoutMs: NO_DEADLINE });
    return { status: exitStatus, at: exitedAt ? new Date(Number(exitedAt.seconds) * 1000) : new Date() };
  }

  async kill(signal: number, options: { execId?: string; all?: boolean } = {}): Promise<void> {
    const { execId = '', all = false } = options;
    await this.#calls.kill({ id: this.id, execId, signal, all }, { timeoutMs: CALL_DEADLINE_MS });
  }

  /** Registers one more process; `process` is the OCI process section. */
  async exec(execId: string, process: object, terminal: boolean, stdio: StdioPaths): Promise<void> {
    const spec = { typeUrl: PROCESS_TYPE, value: Buffer.from(JSON.stringify(process)) };
    await this.#calls.exec({ id: this.id, execId, terminal, ...stdio, spec }, { timeoutMs: CALL_DEADLINE_MS });
  }

  async deleteExec(execId: string): Promise<void> {
    await this.#calls.delete({ id: this.id, execId }, { timeoutMs: CALL_DEADLINE_MS });
  }

  async resize(execId: string, size: TerminalSize): Promise<void> {
    await this.#calls.resizePty(
      { id: this.id, execId, width: size.columns, height: size.rows },
      { timeoutMs: CALL_DEADLINE_MS },
    );
  }

  async closeStdin(execId: string): Promise<void> {
    await this.#calls.closeIO({ id: this.id, execId, stdin: true }, { timeoutMs: CALL_DEADLINE_MS });
  }

  /** Deletes the container, running or not, and stays until its shim has gone; what is gone already is fine. */
  async end(): Promise<void> {
    const call = { timeoutMs: CALL_DEADLINE_MS };
    await this.#calls.kill({ id: this.id, signal: 9, all: true }, call).catch(() => undefined);
    await this.#calls.wait({ id: this.id }, call).catch(() => undefined);
    await this.#calls.delete({ id: this.id }, call).catch(() => undefined);
    await this.#calls.shutdown({ id: this.id, now: true }, call).catch(() => undefined);
    await Promise.race([this.#closed, deadline(SHIM_EXIT_DEADLINE_MS)]);
  }

  close(): void {
    this.#socket.destroy();
  }
}

/**
 * Starts a shim for a bundle, as containerd does, and connects to it.
 * @throws TskataError with what the launcher said.
 */
export async function startTask(context: CliContext, id: string, bundle: string): Promise<Task> {
  const debug = context.debug ? ['-debug'] : [];
  const config = context.configPath === '' ? [] : ['-config', context.configPath];
  const { stdout } = await run(
    join(context.programs, 'containerd-shim-tskata-v2'),
    ['-namespace', context.namespace, '-id', id, '-address', '', '-caller', 'command', ...config, ...debug, 'start'],
    {
      cwd: bundle,
      timeoutMs: LAUNCH_DEADLINE_MS,
      env: { TSKATA_RUN_ROOT: context.runRoot, TSKATA_LIB_ROOT: context.libRoot },
    },
  );
  return await connectTask(id, bundle, stdout.trim());
}

/** Connects to the shim of a container that is there. */
export async function openTask(record: ContainerRecord): Promise<Task> {
  return await connectTask(record.id, record.bundle, record.socket);
}

async function connectTask(id: string, bundle: string, address: string): Promise<Task> {
  const socket = connect(address.replace(/^unix:\/\//, ''));
  try {
    await once(socket, 'connect');
  } catch (error) {
    throw new TskataError(
      Code.Unavailable,
      `connect to the shim of ${id.slice(0, 12)}: ${(error as Error).message}; 'tskata gc' removes what a crash left`,
    );
  }
  return new Task(id, bundle, socket);
}
