/**
 * Owns `binary://` output: a logging program of the host's administrator that reads both streams on descriptors 3 and
 * 4 and says on 5 that it is ready. Refuses to know what it logs.
 */
import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import type { Duplex } from 'node:stream';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { OutputSink } from './sink.ts';
import { writesTo } from './writes.ts';

/** A logger that has not said that it is ready is used after this time all the same. */
const READY_TIMEOUT_MS = 10_000;
/** A logger gets this long to write what it has read. */
const END_TIMEOUT_MS = 10_000;
const MAX_ARGUMENTS = 64;

/** A running logger. */
export interface BinaryLogger {
  readonly stdout: OutputSink;
  readonly stderr: OutputSink;
  /** Ends both streams; the program is killed when it has not ended some time later. */
  close(): void;
}

/** Starts the program of `binary:///path?key=value&flag`. Its arguments are the keys and values, in order. */
export function openLogger(uri: string, context: { namespace: string; containerId: string }): BinaryLogger {
  const url = new URL(uri);
  const args = [...url.searchParams].flatMap(([key, value]) => (value === '' ? [key] : [key, value]));
  if (args.length > MAX_ARGUMENTS)
    throw new TskataError(Code.InvalidArgument, `start logger - ${uri} - more than ${MAX_ARGUMENTS} arguments`);
  const program = decodeURIComponent(url.pathname);
  requireProgram(program);
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
    cwd: '/',
    env: { CONTAINER_ID: context.containerId, CONTAINER_NAMESPACE: context.namespace },
  });
  const [, , , out, err, readiness] = child.stdio as unknown as [null, null, null, Duplex, Duplex, Duplex];
  const failed = Promise.withResolvers<void>();
  child.once('error', () => failed.resolve());
  const ready = readyOf(readiness, failed.promise);
  let killer: NodeJS.Timeout | undefined;
  child.once('exit', () => {
    clearTimeout(killer);
    readiness.destroy();
  });
  return {
    stdout: pipeSink(out, ready),
    stderr: pipeSink(err, ready),
    close: () => {
      out.end();
      err.end();
      if (child.exitCode !== null || child.signalCode !== null) return;
      killer ??= setTimeout(() => child.kill('SIGKILL'), END_TIMEOUT_MS);
    },
  };
}

/** A logger that cannot run would lose all output without a word. */
function requireProgram(path: string): void {
  try {
    accessSync(path, constants.X_OK);
  } catch (error) {
    const fact = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new TskataError(Code.NotFound, `start logger - ${path} - ${fact}`);
  }
}

/** A byte or the end of the third pipe; also the end of the program, and a deadline. */
function readyOf(pipe: Duplex, failed: Promise<void>): Promise<void> {
  pipe.on('error', () => undefined);
  const said = new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, READY_TIMEOUT_MS);
    const settle = (): void => {
      clearTimeout(timer);
      resolve();
    };
    pipe.once('data', settle);
    pipe.once('close', settle);
    void failed.then(settle);
  });
  return said;
}

function pipeSink(pipe: Duplex, ready: Promise<void>): OutputSink {
  // A logger that dies loses what it has not read; the container goes on.
  pipe.on('error', () => undefined);
  pipe.resume();
  const write = writesTo(pipe);
  return {
    write: async (bytes) => {
      await ready;
      await write(bytes);
    },
    close: () => {
      pipe.end();
    },
  };
}
