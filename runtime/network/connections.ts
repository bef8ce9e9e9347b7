/**
 * Connections of clients that are carried into the guest, each over a stream of the agent's. A full reader stops its
 * writer on either side, and each side can end alone. Refuses to know who listens, and where a connection goes to.
 */
import type { Socket } from 'node:net';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { GuestStream } from '../sandbox/guest.ts';

/** Connections of one sandbox's listeners; more are reset. Each costs two descriptors and a stream of the agent's. */
const MAX_CONNECTIONS = 1024;
/** Connections that came before the guest was up and wait for it. */
const MAX_WAITING = 64;
/** Silence after which a peer that vanished is looked for. */
const KEEP_ALIVE_MS = 60_000;

/** What a listener must be made with: sockets that wait until they are carried, and whose halves end alone. */
export const CARRIED = { allowHalfOpen: true, pauseOnConnect: true, noDelay: true } as const;

/** Opens the stream for a connection. Rejects when nobody listens in the guest. */
export type Dial<Target> = (target: Target) => Promise<GuestStream>;

/** The connections of one listener, or of several. `Target`: what says where one goes to. */
export class Connections<Target> {
  readonly #sockets = new Set<Socket>();
  #waiting: (() => void)[] = [];
  #dial: Dial<Target> | undefined;

  /** Connections under way. */
  get count(): number {
    return this.#sockets.size;
  }

  /** The guest is up: connections are passed on from now, first those that wait. */
  start(dial: Dial<Target>): void {
    this.#dial = dial;
    for (const begin of this.#waiting.splice(0)) begin();
  }

  /** Takes a connection over. */
  accept(socket: Socket, target: Target): void {
    const waits = this.#dial === undefined;
    if (this.#sockets.size >= MAX_CONNECTIONS || (waits && this.#waiting.length >= MAX_WAITING)) {
      socket.resetAndDestroy();
      return;
    }
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => this.#sockets.delete(socket));
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    if (waits) this.#waiting.push(() => void this.#carry(socket, target));
    else void this.#carry(socket, target);
  }

  /** Ends all of them. */
  close(): void {
    this.#waiting = [];
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Never rejects: whatever goes wrong ends this one connection. */
  async #carry(socket: Socket, target: Target): Promise<void> {
    if (socket.destroyed || this.#dial === undefined) return;
    let stream: GuestStream;
    try {
      stream = await this.#dial(target);
    } catch {
      // As a refused connection looks to a client whose connection was accepted before.
      socket.resetAndDestroy();
      return;
    }
    socket.once('close', () => stream.abort());
    if (socket.destroyed) {
      stream.abort();
      return;
    }
    try {
      await Promise.all([toGuest(socket, stream), toHost(stream, socket)]);
    } catch {
      stream.abort();
      socket.resetAndDestroy();
    }
  }
}

async function toGuest(socket: Socket, stream: GuestStream): Promise<void> {
  // The iterator must not destroy the socket at its end: the other direction may go on.
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) await stream.write(chunk as Uint8Array);
  stream.end();
}

async function toHost(stream: GuestStream, socket: Socket): Promise<void> {
  for await (const chunk of stream) {
    if (!socket.write(chunk)) await drained(socket);
  }
  socket.end();
}

/** Resolves when the socket takes more; rejects when it never will. */
function drained(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    const onDrain = (): void => {
      socket.off('close', onClose);
      resolve();
    };
    const onClose = (): void => {
      socket.off('drain', onDrain);
      reject(new TskataError(Code.Unavailable, 'write to the client: it is gone'));
    };
    socket.once('drain', onDrain);
    socket.once('close', onClose);
    if (socket.destroyed) onClose();
  });
}
