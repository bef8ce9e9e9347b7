import { constants, openSync } from 'node:fs';
import { Socket } from 'node:net';

/** A client's read end of a FIFO. */
export class FifoReader {
  readonly ended: Promise<void>;
  #bytes = Buffer.alloc(0);
  readonly #socket: Socket;

  constructor(path: string) {
    this.#socket = new Socket({
      fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK),
      readable: true,
      writable: false,
    });
    this.#socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
    });
    this.ended = new Promise((resolve) => {
      this.#socket.on('close', () => resolve());
    });
  }

  get text(): string {
    return this.#bytes.toString();
  }

  get length(): number {
    return this.#bytes.length;
  }

  close(): void {
    this.#socket.destroy();
  }
}
