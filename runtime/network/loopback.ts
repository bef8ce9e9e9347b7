/**
 * The loopback of a pod's network namespace on the host, carried into the guest: whoever enters that namespace and dials
 * localhost there (`kubectl port-forward` does) reaches the program that listens in the guest. The listener gets the
 * connections of every port; which one was meant is the connection's own address.
 */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { GuestStream } from '../sandbox/guest.ts';
import type { DialGuest } from '../sandbox/network.ts';
import { CARRIED, Connections } from './connections.ts';

/** Where a connection was to go. */
interface LoopbackTarget {
  readonly family: 4 | 6;
  readonly port: number;
}

/** The listener on a loopback. */
export class LoopbackForwarder {
  readonly #server: Server;
  readonly #connections = new Connections<LoopbackTarget>();

  private constructor() {
    this.#server = createServer(CARRIED, (socket) => this.#accept(socket));
  }

  /** Listens on a handle of the keeper's (`listenLoopback`). */
  static async open(handle: object): Promise<LoopbackForwarder> {
    const forwarder = new LoopbackForwarder();
    const ready = once(forwarder.#server, 'listening');
    forwarder.#server.listen(handle);
    await ready;
    forwarder.#server.on('error', () => {
      // Accepting failed for want of descriptors: the client is refused, the listener stays.
    });
    return forwarder;
  }

  /** The guest is up. */
  start(dial: DialGuest): void {
    this.#connections.start((target) => dialLoopback(dial, target));
  }

  /** Ends listener and connections. Idempotent. */
  async close(): Promise<void> {
    this.#connections.close();
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()));
  }

  #accept(socket: Socket): void {
    const { localAddress, localPort } = socket;
    // It has ended before it was looked at.
    if (localAddress === undefined || localPort === undefined) socket.destroy();
    else this.#connections.accept(socket, { family: isInet4(localAddress) ? 4 : 6, port: localPort });
  }
}

/** "127.0.0.1", or the same as a socket of both families shows it. */
function isInet4(address: string): boolean {
  return !address.includes(':') || address.startsWith('::ffff:');
}

/**
 * A client that tries IPv4 first and IPv6 when refused (containerd does) has no refusal to see here: its connection was
 * accepted before the guest is asked. So the guest's other family is tried in its place.
 */
async function dialLoopback(dial: DialGuest, { family, port }: LoopbackTarget): Promise<GuestStream> {
  const hosts = family === 4 ? ['127.0.0.1', '[::1]'] : ['[::1]'];
  let refusal: unknown = new TskataError(Code.Unavailable, `dial port ${port}: no address`);
  for (const host of hosts) {
    try {
      return await dial('tcp', `${host}:${port}`);
    } catch (error) {
      refusal = error;
    }
  }
  throw refusal;
}
