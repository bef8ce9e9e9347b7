/**
 * A QMP session: greeting, capabilities, commands with ids and deadlines, events. It knows the monitor's protocol and
 * nothing of machines; what a command or an event means is its caller's business.
 */
import type { Channel, Clock } from '../../../agent/protocol/channel.ts';
import { QmpDecoder, type QmpMessage, type QmpObject } from './decoder.ts';

/** QEMU refused a command. The session goes on. */
export class QmpCommandError extends Error {
  override readonly name = 'QmpCommandError';
  readonly command: string;
  /** QEMU's error class, mostly "GenericError". */
  readonly errorClass: string;
  /** QEMU's own sentence. */
  readonly text: string;

  constructor(command: string, errorClass: string, text: string) {
    super(`QMP ${command}: ${text}`);
    this.command = command;
    this.errorClass = errorClass;
    this.text = text;
  }
}

/** The session is over, or QEMU did not answer in time. */
export class QmpSessionError extends Error {
  override readonly name = 'QmpSessionError';
}

/** How long QEMU may take for an answer when the caller names no other deadline. It answers in under 10 ms when idle. */
const QMP_TIMEOUT_MS = 15_000;

/** Commands under way at once; more is our mistake. */
const MAX_PENDING = 64;

interface Pending {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly cancelTimer: () => void;
}

/** Called for every event; must not throw. */
export type QmpEventListener = (name: string, data: QmpObject) => void;

/** A negotiated session. Made by `openQmp`. */
export class QmpClient {
  /** Version of the QEMU at the other end, "7.2.22"; known once the greeting has come. */
  version = '0.0.0';
  onEvent: QmpEventListener = () => {};
  /** Settles with the reason when the session has ended. Never rejects. */
  readonly closed: Promise<Error>;
  readonly #channel: Channel;
  readonly #clock: Clock;
  readonly #decoder = new QmpDecoder();
  readonly #pending = new Map<number, Pending>();
  #settleClosed: (reason: Error) => void = () => {};
  #settleGreeting: (version: string) => void = () => {};
  readonly #greeting: Promise<string>;
  #nextId = 1;
  #end: Error | undefined;

  constructor(channel: Channel, clock: Clock) {
    this.#channel = channel;
    this.#clock = clock;
    this.closed = new Promise((resolve) => {
      this.#settleClosed = resolve;
    });
    this.#greeting = new Promise((resolve) => {
      this.#settleGreeting = resolve;
    });
    channel.onData = (bytes) => this.#onData(bytes);
    channel.onEnd = (error) => this.#finish(error ?? new QmpSessionError('QMP session: QEMU closed it'));
    channel.setReading(true);
  }

  /** Waits for the greeting and leaves the negotiation mode. */
  async negotiate(timeoutMs: number): Promise<void> {
    let cancel = () => {};
    const deadline = new Promise<never>((_, reject) => {
      cancel = this.#clock.timer(timeoutMs, () =>
        reject(new QmpSessionError(`QMP session: no greeting within ${timeoutMs} ms`)),
      );
    });
    const ended = this.closed.then((reason) => {
      throw reason;
    });
    try {
      this.version = await Promise.race([this.#greeting, deadline, ended]);
    } finally {
      cancel();
    }
    await this.execute('qmp_capabilities', {}, timeoutMs);
  }

  /**
   * Runs one command.
   *
   * @throws QmpCommandError when QEMU refuses it, QmpSessionError when the session ends or the deadline passes first.
   */
  execute(command: string, args: QmpObject = {}, timeoutMs: number = QMP_TIMEOUT_MS): Promise<unknown> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    if (this.#pending.size >= MAX_PENDING) {
      return Promise.reject(new QmpSessionError(`QMP ${command}: ${MAX_PENDING} commands are already under way`));
    }
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const cancelTimer = this.#clock.timer(timeoutMs, () => {
        this.#pending.delete(id);
        reject(new QmpSessionError(`QMP ${command}: no answer within ${timeoutMs} ms`));
      });
      this.#pending.set(id, { command, resolve, reject, cancelTimer });
      const line = JSON.stringify({ execute: command, arguments: args, id });
      this.#channel.write(new TextEncoder().encode(`${line}\n`));
    });
  }

  /** Ends the session from our side. */
  close(): void {
    this.#finish(new QmpSessionError('QMP session: closed'));
  }

  #onData(bytes: Uint8Array): void {
    if (this.#end !== undefined) return;
    let messages: QmpMessage[];
    try {
      messages = this.#decoder.push(bytes);
    } catch (error) {
      this.#finish(error instanceof Error ? error : new QmpSessionError(String(error)));
      return;
    }
    for (const message of messages) this.#dispatch(message);
  }

  #dispatch(message: QmpMessage): void {
    switch (message.kind) {
      case 'greeting':
        this.#settleGreeting(message.version);
        return;
      case 'event':
        this.onEvent(message.name, message.data);
        return;
      case 'return':
        // An unknown id is an answer that came after its deadline: its caller has gone.
        this.#settle(message.id)?.resolve(message.value);
        return;
      case 'error': {
        const pending = message.id === undefined ? undefined : this.#settle(message.id);
        pending?.reject(new QmpCommandError(pending.command, message.errorClass, message.text));
        return;
      }
    }
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending === undefined) return undefined;
    this.#pending.delete(id);
    pending.cancelTimer();
    return pending;
  }

  #finish(reason: Error): void {
    if (this.#end !== undefined) return;
    this.#end = reason;
    for (const id of [...this.#pending.keys()]) this.#settle(id)?.reject(reason);
    this.#channel.close();
    this.#settleClosed(reason);
  }
}

/** Opens a session on a monitor's channel: greeting and capabilities are done when it resolves. */
export async function openQmp(channel: Channel, clock: Clock, timeoutMs: number): Promise<QmpClient> {
  const client = new QmpClient(channel, clock);
  try {
    await client.negotiate(timeoutMs);
  } catch (error) {
    client.close();
    throw error;
  }
  return client;
}
