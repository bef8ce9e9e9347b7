/**
 * Owns the way of events to containerd: one ordered queue, one call at a time, over a connection that is made again
 * when containerd comes back. Refuses to know what an event means.
 */
import { connect, type Socket } from 'node:net';
import type { Clock } from '../../agent/protocol/channel.ts';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { MAX_TTRPC_MESSAGE_BYTES } from '../../agent/protocol/limits.ts';
import type { Init } from '../../agent/protocol/message.ts';
import type { Client } from '../../agent/protocol/service.ts';
import { createClient, TtrpcClient } from '../../agent/protocol/ttrpc/client.ts';
import { ChannelPipe } from '../../agent/protocol/ttrpc/pipe.ts';
import type { Logger } from '../../runtime/host/log.ts';
import { socketChannel } from '../../runtime/host/socket-channel.ts';
import { timestamp } from './convert.ts';
import type { TopicEvent } from './events.ts';
import { Events } from './generated/events-ttrpc.ts';
import type { Envelope } from './generated/types.ts';

/** Events that may wait for containerd; older ones go first. About 1 MB. */
const MAX_QUEUED = 4096;
const CALL_TIMEOUT_MS = 5_000;
/** Waits between attempts; the last one repeats. A restart of containerd takes seconds. */
const RETRY_MS = [100, 500, 1_000, 2_000, 5_000] as const;
/** An event that a reachable containerd does not take so often is given up: others wait behind it. */
const MAX_REFUSALS = 60;
/** How long `drain` may hold up the end of the shim. */
const DRAIN_TIMEOUT_MS = 5_000;

/** Sends events of one shim. */
export interface Publisher {
  publish(event: TopicEvent): void;
  /** Resolves when the queue is empty or its time is up. */
  drain(): Promise<void>;
  close(): void;
}

/** For a caller that wants no events. */
export const noPublisher: Publisher = {
  publish: () => undefined,
  drain: () => Promise.resolve(),
  close: () => undefined,
};

interface Connection {
  readonly events: Client<typeof Events>;
  readonly client: TtrpcClient;
}

export class TtrpcPublisher implements Publisher {
  readonly #address: string;
  readonly #namespace: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #queue: Init<Envelope>[] = [];
  #connection: Connection | undefined;
  #sending: Promise<void> | undefined;
  #closed = false;

  /** `address`: path of containerd's ttrpc socket. */
  constructor(address: string, namespace: string, parts: { readonly clock: Clock; readonly log: Logger }) {
    this.#address = address;
    this.#namespace = namespace;
    this.#clock = parts.clock;
    this.#log = parts.log;
  }

  publish({ topic, event }: TopicEvent): void {
    if (this.#closed) return;
    if (this.#queue.length >= MAX_QUEUED) {
      this.#queue.shift();
      this.#log.warn('event dropped', { reason: 'the queue is full' });
    }
    this.#queue.push({ timestamp: timestamp(new Date()), namespace: this.#namespace, topic, event });
    this.#sending ??= this.#sendAll();
  }

  async drain(): Promise<void> {
    if (this.#sending === undefined) return;
    let cancel = (): void => undefined;
    const late = new Promise<void>((resolve) => {
      cancel = this.#clock.timer(DRAIN_TIMEOUT_MS, resolve);
    });
    await Promise.race([this.#sending, late]);
    cancel();
  }

  close(): void {
    this.#closed = true;
    this.#queue.length = 0;
    this.#disconnect();
  }

  async #sendAll(): Promise<void> {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      await this.#sendOne(next);
      if (this.#queue[0] === next) this.#queue.shift();
    }
    this.#sending = undefined;
  }

  async #sendOne(envelope: Init<Envelope>): Promise<void> {
    let refusals = 0;
    for (let attempt = 0; refusals < MAX_REFUSALS && !this.#closed; attempt++) {
      let reached = false;
      try {
        this.#connection ??= await this.#connect();
        reached = true;
        await this.#connection.events.forward({ envelope }, { timeoutMs: CALL_TIMEOUT_MS });
        return;
      } catch (error) {
        if (TskataError.from(error).code === Code.InvalidArgument) {
          // It will be as wrong next time, and those behind it are waiting.
          this.#log.warn('event refused', { topic: envelope.topic, error: String(error) });
          return;
        }
        if (reached) refusals++;
        this.#disconnect();
        this.#log.debug('event not delivered yet', { topic: envelope.topic, attempt, error: String(error) });
        const delayMs = RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)] ?? 0;
        await new Promise<void>((resolve) => this.#clock.timer(delayMs, resolve));
      }
    }
    if (!this.#closed) this.#log.warn('event given up', { topic: envelope.topic });
  }

  async #connect(): Promise<Connection> {
    const socket = await connected(this.#address);
    const channel = socketChannel(socket);
    const client = new TtrpcClient(new ChannelPipe(channel, MAX_TTRPC_MESSAGE_BYTES), this.#clock);
    client.onEnd = () => {
      this.#connection = undefined;
    };
    channel.setReading(true);
    return { events: createClient(Events, client), client };
  }

  #disconnect(): void {
    this.#connection?.client.close();
    this.#connection = undefined;
  }
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path.replace(/^unix:\/\//, ''));
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}
