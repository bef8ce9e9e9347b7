/**
 * Owns a port of the agent over vsock: a listener, and the one connection that it has at a time, as a `Channel` that
 * never ends, like a virtio-serial port. A new connection of the host's replaces the one before (the kernel cuts
 * connections when the machine is restored). Whoever is not root on the host is turned away.
 */
import type { Channel } from '../protocol/channel.ts';
import { GREETING, HOST_CID, LAST_PRIVILEGED_PORT } from '../protocol/vsock.ts';
import { close } from './calls.ts';
import { FdChannel } from './fd-channel.ts';
import { AF, EPOLL, SOCK } from './linux.ts';
import { accept, bind, listen, socket } from './sockets.ts';
import type { SocketAddress } from './structs.ts';
import type { Loop, Sys } from './sys.ts';

/** VMADDR_CID_ANY: whatever address this guest has, now or after a restore. */
const ANY_CID = 0xffffffff;
const BACKLOG = 4;

export class VsockPort implements Channel {
  onData: (bytes: Uint8Array) => void = () => {};
  onDrain: () => void = () => {};
  /** Never called: the next connection continues. */
  onEnd: (error?: Error) => void = () => {};
  readonly #sys: Sys;
  readonly #loop: Loop;
  readonly #listener: number;
  readonly #name: string;
  #connection: FdChannel | undefined;
  #reading = true;
  #congested = false;

  constructor(sys: Sys, loop: Loop, port: number, name: string) {
    this.#sys = sys;
    this.#loop = loop;
    this.#name = name;
    this.#listener = socket(sys, AF.VSOCK, SOCK.STREAM | SOCK.NONBLOCK);
    bind(sys, this.#listener, { family: 'vsock', cid: ANY_CID, port }, name);
    listen(sys, this.#listener, BACKLOG);
    loop.watch(this.#listener, EPOLL.IN, () => this.#acceptAll());
  }

  /** Without a connection, bytes go nowhere: the next one begins with a reset. */
  write(bytes: Uint8Array): boolean {
    if (this.#connection === undefined) return true;
    this.#congested = !this.#connection.write(bytes);
    return !this.#congested;
  }

  setReading(reading: boolean): void {
    this.#reading = reading;
    this.#connection?.setReading(reading);
  }

  discard(): void {
    this.#connection?.discard();
    this.#relieve();
  }

  close(): void {
    this.#loop.unwatch(this.#listener);
    close(this.#sys, this.#listener);
    this.#connection?.close();
    this.#connection = undefined;
  }

  #acceptAll(): void {
    for (;;) {
      const accepted = accept(this.#sys, this.#listener);
      // EAGAIN, or a connection that has gone again: an event announces the next one.
      if (typeof accepted === 'number') return;
      if (isHostRoot(accepted.peer)) this.#adopt(accepted.fd);
      else close(this.#sys, accepted.fd);
    }
  }

  #adopt(fd: number): void {
    this.#connection?.close();
    const connection = new FdChannel(this.#sys, this.#loop, fd, { name: this.#name });
    this.#connection = connection;
    connection.onData = (bytes) => this.onData(bytes);
    connection.onDrain = () => this.#relieve();
    connection.onEnd = () => {
      if (this.#connection !== connection) return;
      this.#connection = undefined;
      this.#relieve();
    };
    connection.setReading(this.#reading);
    connection.write(Uint8Array.of(GREETING));
    this.#relieve();
  }

  /** Whoever waits for room has it. */
  #relieve(): void {
    if (!this.#congested) return;
    this.#congested = false;
    this.onDrain();
  }
}

/** The kernel of the host gives ports of that range to root only, and no guest can say that it is the host. */
function isHostRoot(peer: SocketAddress | undefined): boolean {
  return peer?.family === 'vsock' && peer.cid === HOST_CID && peer.port <= LAST_PRIVILEGED_PORT;
}
