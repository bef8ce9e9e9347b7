/**
 * Owns one flow of output: copies a stream of the guest into a sink, counts what was delivered, and closes the sink at
 * the stream's end. The guest gets credit only for what the sink has taken.
 */
import type { GuestStream } from '../../runtime/sandbox/guest.ts';
import type { OutputSink } from './sink.ts';

interface Waiter {
  readonly bytes: bigint;
  readonly resolve: () => void;
}

export class OutputPump {
  readonly #sink: OutputSink;
  readonly #end = Promise.withResolvers<void>();
  readonly #waiters = new Set<Waiter>();
  #delivered = 0n;
  #stream: GuestStream | undefined;
  #over = false;

  constructor(sink: OutputSink) {
    this.#sink = sink;
  }

  /** Resolves when the stream has ended and everything was delivered. */
  get ended(): Promise<void> {
    return this.#end.promise;
  }

  start(stream: GuestStream): void {
    this.#stream = stream;
    void this.#run(stream);
  }

  /** Resolves when at least so many bytes have left, or the flow is over. */
  delivered(bytes: bigint): Promise<void> {
    if (this.#over || this.#delivered >= bytes) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.add({ bytes, resolve }));
  }

  /** Gives up the stream and closes the sink. Idempotent. */
  close(): void {
    this.#stream?.abort();
    this.#finish();
  }

  async #run(stream: GuestStream): Promise<void> {
    try {
      for await (const chunk of stream) {
        await this.#sink.write(chunk);
        this.#delivered += BigInt(chunk.length);
        this.#wake();
      }
    } catch {
      // Aborted: by us, or by the end of the machine. What had arrived was delivered.
    }
    this.#finish();
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#sink.close();
    this.#wake();
    this.#end.resolve();
  }

  #wake(): void {
    for (const waiter of this.#waiters) {
      if (!this.#over && this.#delivered < waiter.bytes) continue;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
  }
}
