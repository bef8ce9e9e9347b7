/**
 * The keeper of one sandbox as its shim sees it: the native helper started as a child, its calls, and our ends of the
 * sockets that its children inherit. When the shim ends, so does the keeper and all that it holds. It knows no QEMU.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { Helper } from '../../agent/protocol/generated/helper.ts';
import type { Client } from '../../agent/protocol/service.ts';
import { createClient, TtrpcClient } from '../../agent/protocol/ttrpc/client.ts';
import { ChannelPipe } from '../../agent/protocol/ttrpc/pipe.ts';
import { nodeClock } from '../host/clock.ts';
import { socketChannel } from '../host/socket-channel.ts';
import { LineSplitter } from './line-splitter.ts';

/** Answers of the helper are a few numbers. */
const MAX_MESSAGE_BYTES = 64 * 1024;
/** The helper gives itself 2 s to end its children. */
const CLOSE_TIMEOUT_MS = 4_000;
const HANDLE_TIMEOUT_MS = 10_000;
/** Lines of its log that are kept for an error. */
const LOG_TAIL_LINES = 8;
/** The helper's end of the connection. */
const RPC_FD = 3;

/** How to start one. */
export interface KeeperOptions {
  /** Path of the native helper. */
  readonly helper: string;
  /** Absolute; "/run/tskata". */
  readonly runRoot: string;
  /** Names of the sockets that children inherit; each can be given to one child. */
  readonly inherited: readonly string[];
  /** Lines that the helper and programs without a log of their own write; untrusted words among them. */
  readonly onLog: (line: string) => void;
}

/** A running keeper. */
export interface Keeper {
  readonly pid: number;
  /** Path of the native helper that it runs. */
  readonly executable: string;
  readonly call: Client<typeof Helper>;
  /** Our end of an inherited socket. */
  socket(name: string): Duplex;
  /**
   * A socket that the keeper made in the sandbox's network namespace, where it gets every TCP connection to a loopback
   * address: for `listen` of a `net.Server`.
   */
  listenLoopback(): Promise<object>;
  /** Settles with the reason when the keeper has ended. Never rejects. */
  readonly ended: Promise<string>;
  /** Ends the keeper and all its children, and waits until they are gone. Idempotent. */
  close(): Promise<void>;
}

/** Starts a keeper. It answers calls from the first moment on. Rejects when the program cannot be run. */
export async function startKeeper(options: KeeperOptions): Promise<Keeper> {
  const { helper, runRoot, inherited } = options;
  const numbered = inherited.map((name, index) => `${name}=${RPC_FD + 1 + index}`);
  const handles = String(RPC_FD + 1 + inherited.length);
  const child = spawn(helper, ['sandbox', '--run-root', runRoot, '--handles', handles, ...numbered], {
    argv0: 'tskata-helper',
    cwd: '/',
    env: {},
    // The last is the one channel by which Node takes open sockets of another process.
    stdio: ['ignore', 'pipe', 'pipe', ...['rpc', ...inherited].map(() => 'pipe' as const), 'ipc'],
  });
  await spawned(child, helper);
  // It keeps nobody alive: the connection for calls does.
  child.channel?.unref();
  const tail = followLog(child, options.onLog);
  const ended = endOf(child, tail);
  const sockets = new Map(inherited.map((name, index) => [name, socketAt(child, RPC_FD + 1 + index)]));
  // An error on a socket shows as its end to whoever reads it; without a listener it would end the shim.
  for (const socket of sockets.values()) socket.on('error', () => {});
  const client = new TtrpcClient(new ChannelPipe(socketChannel(socketAt(child, RPC_FD)), MAX_MESSAGE_BYTES), nodeClock);
  let closing: Promise<void> | undefined;
  const call = createClient(Helper, client);
  return {
    pid: child.pid ?? 0,
    executable: helper,
    call,
    socket: (name) => {
      const socket = sockets.get(name);
      if (socket === undefined) throw new TskataError(Code.NotFound, `find socket ${name}: the keeper has none`);
      return socket;
    },
    listenLoopback: () => listenLoopback(child, call, ended),
    ended,
    close: () => {
      closing ??= close(child, client, ended);
      return closing;
    },
  };
}

/** Asks for the listener and takes the handle, which comes by another way than the answer. */
async function listenLoopback(
  child: ChildProcess,
  call: Client<typeof Helper>,
  ended: Promise<string>,
): Promise<object> {
  const got = Promise.withResolvers<object>();
  const take = (_message: unknown, handle: unknown): void => {
    // A raw handle: Node's types know only those that Node itself sends.
    if (typeof handle === 'object' && handle !== null) got.resolve(handle);
    else got.reject(new TskataError(Code.Internal, 'listen on the loopback: the keeper sent no socket'));
  };
  child.once('message', take);
  try {
    await call.listenLoopback({}, { timeoutMs: HANDLE_TIMEOUT_MS });
    const dead = ended.then((reason): never => {
      throw new TskataError(Code.Unavailable, `listen on the loopback: ${reason}`);
    });
    return await Promise.race([got.promise, dead]);
  } finally {
    child.off('message', take);
    got.promise.catch(() => undefined);
  }
}

function spawned(child: ChildProcess, helper: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) => {
      reject(new TskataError(Code.FailedPrecondition, `start ${helper}: ${error.message}`, error));
    });
  });
}

function socketAt(child: ChildProcess, fd: number): Duplex {
  // The type knows only readable and writable ends; 'pipe' is a socket pair beyond the third.
  return child.stdio[fd] as unknown as Duplex;
}

/** The last lines, kept up to date. */
function followLog(child: ChildProcess, onLog: (line: string) => void): readonly string[] {
  const tail: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    const lines = new LineSplitter((line) => {
      tail.push(line);
      if (tail.length > LOG_TAIL_LINES) tail.shift();
      onLog(line);
    });
    stream?.on('data', (chunk: Buffer) => lines.push(chunk));
    stream?.on('end', () => lines.finish());
    stream?.on('error', () => {});
  }
  return tail;
}

function endOf(child: ChildProcess, tail: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => {
      const how = signal === null ? `with status ${code}` : `by ${signal}`;
      const words = tail.length === 0 ? '' : `: ${tail.join(' | ')}`;
      resolve(`the native helper ended ${how}${words}`);
    });
  });
}

async function close(child: ChildProcess, client: TtrpcClient, ended: Promise<string>): Promise<void> {
  // The end of the connection is the order to end.
  client.close();
  const timer = setTimeout(() => child.kill('SIGKILL'), CLOSE_TIMEOUT_MS);
  await ended;
  clearTimeout(timer);
  for (const stream of child.stdio) stream?.destroy();
}
