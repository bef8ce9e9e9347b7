/**
 * Ports of the host that lead into the guest: listeners of this process, each connection carried over a stream of the
 * agent. QEMU and the user-mode network bind nothing.
 */
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { PublishedPort } from '../sandbox/config.ts';
import { CARRIED, Connections, type Dial } from './connections.ts';

/** Published ports of one sandbox. */
export class PublishedPorts {
  readonly #servers: Server[] = [];
  readonly #connections = new Connections<number>();

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
    return this.#connections.count;
  }

  /** The guest is up: connections are passed on from now, to the TCP port of the guest. */
  start(dial: Dial<number>): void {
    this.#connections.start(dial);
  }

  /** Ends listeners and connections. Idempotent. */
  async close(): Promise<void> {
    this.#connections.close();
    await Promise.all(
      this.#servers.map((server) => new Promise<void>((resolve) => void server.close(() => resolve()))),
    );
  }

  async #listen(port: PublishedPort): Promise<void> {
    const server = createServer(CARRIED, (socket) => this.#connections.accept(socket, port.containerPort));
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
