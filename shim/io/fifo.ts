/**
 * Owns FIFOs of a client: opened so that neither side ever blocks or breaks the other. Refuses to know streams.
 *
 * Descriptors are wrapped in net.Socket, which polls them; a file stream would hold a thread of the pool per FIFO.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { OutputSink } from './sink.ts';
import { writesTo } from './writes.ts';

const { O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = constants;

/**
 * The write end of a client's FIFO. Held for reading as well (O_RDWR), so that a client that goes away or comes back
 * is neither an error nor an end: the bytes wait in the FIFO, and when it is full the writer waits.
 */
export function openFifoSink(path: string): OutputSink {
  const socket = new Socket({ fd: openFifo(path, O_RDWR), readable: false, writable: true });
  // EIO and the like: a FIFO held at both ends does not fail, and if it does nobody can be told.
  socket.on('error', () => undefined);
  return {
    write: writesTo(socket),
    close: () => {
      socket.destroy();
    },
  };
}

/** Input of a process. */
export interface InputSource {
  /**
   * Bytes of the client until the end of input; nothing is read ahead while the consumer works on a chunk. The end is
   * `release` by us and the close of every writer by the clients, whichever is later.
   */
  chunks(): AsyncIterable<Uint8Array>;
  /** CloseIO: lets the end of file through once what is in the FIFO has been read. Idempotent. */
  release(): void;
  /** Stops at once. Idempotent. */
  close(): void;
}

/** The read end of a client's FIFO, with a writer of our own held: a client's close alone is not the end of input. */
export function openFifoSource(path: string): InputSource {
  const fd = openFifo(path, O_RDONLY);
  let writer = openFifo(path, O_WRONLY);
  const socket = new Socket({ fd, readable: true, writable: false });
  // A read error ends the input as a close would; the iterator below reports the end.
  socket.on('error', () => undefined);
  const release = (): void => {
    if (writer < 0) return;
    closeSync(writer);
    writer = -1;
  };
  return {
    chunks: () => readable(socket),
    release,
    close: () => {
      release();
      socket.destroy();
    },
  };
}

/** Iterates over a socket and takes its destruction for an end instead of an error. */
async function* readable(socket: Socket): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of socket) yield chunk as Buffer;
  } catch (error) {
    // Premature close: `close()` was called, or the read failed; both are the end of what can be had.
    if (!socket.destroyed) throw error;
  }
}

/** Opens and checks that the path is a FIFO: a path of a client must not make us write into a file or a device. */
function openFifo(path: string, flags: number): number {
  let fd: number;
  try {
    fd = openSync(path, flags | O_NONBLOCK);
  } catch (error) {
    throw new TskataError(
      Code.NotFound,
      `open fifo - ${path} - ${(error as NodeJS.ErrnoException).code ?? String(error)}`,
    );
  }
  if (fstatSync(fd).isFIFO()) return fd;
  closeSync(fd);
  throw new TskataError(Code.InvalidArgument, `open fifo - ${path} - not a FIFO`);
}
