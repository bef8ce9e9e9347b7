/**
 * Ports of the host that lead into the guest: listeners of this process, each connection carried over a stream of the
 * agent. QEMU and passt bind nothing. A full reader stops its writer on either side, and each side can end alone.
 */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { PublishedPort } from '../sandbox/config.ts';
import type { GuestStream } from '../sandbox/guest.ts';

/** Connections of one sandbox; more are reset. Each costs two descriptors and a stream of the agent's. */
const MAX_CONNECTIONS = 1024;
/** Connections that came before the guest was up and wait for it. */
const MAX_WAITING = 64;
/** Silence after which a peer that vanished is looked for. */
const KEEP_ALIVE_MS = 60_000;

/** Opens a stream to a TCP port of the guest. Rejects when nobody listens there. */
export type DialPort = (containerPort: number) => Promise<GuestStream>;

/** Published ports of one sandbox. */
export class PublishedPorts {
  readonly #servers: Server[] = [];
  readonly #connections = new Set<Socket>();
  #waiting: (() => void)[] = [];
  #dial: DialPort | undefined;

  /** Binds all ports or none. Throws AlreadyExists for one that is taken, naming it. */
  static async open(ports: readonly PublishedPort[]): Promise<PublishedPorts> {
    const published = new PublishedPorts();
    try {
      for (const port of ports) await published.#listen(port);
    } catch (error) {
      await published.close();
      throw error;
    }
    return published;
  }

  /** Ports in the order of `open`; one that was asked for as 0 has its number here. */
  get hostPorts(): readonly number[] {
    return this.#servers.map((server) => {
      const address = server.address();
      return typeof address === 'object' && address !== null ? address.port : 0;
    });
  }

  /** Connections under way. */
  get connections(): number {
    return this.#connections.size;
  }

  /** The guest is up: connections are passed on from now, first those that wait. */
  start(dial: DialPort): void {
    this.#dial = dial;
    for (const begin of this.#waiting.splice(0)) begin();
  }

  /** Ends listeners and connections. Idempotent. */
  async close(): Promise<void> {
    this.#waiting = [];
    for (const socket of this.#connections) socket.destroy();
    await Promise.all(
      this.#servers.map((server) => new Promise<void>((resolve) => void server.close(() => resolve()))),
    );
  }

  async #listen(port: PublishedPort): Promise<void> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
      this.#accept(socket, port.containerPort);
    });
    const ready = once(server, 'listening');
    // Without an address: all, of both families where the host has both.
    server.listen({ port: port.hostPort, ...(port.hostIp === '' ? {} : { host: port.hostIp }), exclusive: true });
    try {
      await ready;
    } catch (error) {
      throw listenError(port, error);
    }
    server.on('error', () => {
      // Accepting failed for want of descriptors: the client is refused, the listener stays.
    });
    this.#servers.push(server);
  }

  #accept(socket: Socket, containerPort: number): void {
    const waits = this.#dial === undefined;
    if (this.#connections.size >= MAX_CONNECTIONS || (waits && this.#waiting.length >= MAX_WAITING)) {
      socket.resetAndDestroy();
      return;
    }
    this.#connections.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => this.#connections.delete(socket));
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    if (waits) this.#waiting.push(() => void this.#carry(socket, containerPort));
    else void this.#carry(socket, containerPort);
  }

  /** Never rejects: whatever goes wrong ends this one connection. */
  async #carry(socket: Socket, containerPort: number): Promise<void> {
    if (socket.destroyed || this.#dial === undefined) return;
    let stream: GuestStream;
    try {
      stream = await this.#dial(containerPort);
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

function listenError(port: PublishedPort, caught: unknown): TskataError {
  const where = `${port.hostIp.includes(':') ? `[${port.hostIp}]` : port.hostIp || '0.0.0.0'}:${port.hostPort}`;
  const code = caught instanceof Error && 'code' in caught ? String(caught.code) : String(caught);
  if (code === 'EADDRINUSE') {
    return new TskataError(
      Code.AlreadyExists,
      `publish port ${where}: it is in use on this host - choose another`,
      caught,
    );
  }
  if (code === 'EADDRNOTAVAIL') {
    return new TskataError(Code.InvalidArgument, `publish port ${where}: this host has no such address`, caught);
  }
  return new TskataError(Code.Unknown, `publish port ${where}: ${code}`, caught);
}
