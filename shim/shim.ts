/**
 * Owns one shim: the listening socket, its connections, the sandbox behind them, and when all of it ends. Keeps no
 * process-global state: one process could hold several. Refuses to know QEMU; `commands/serve.ts` hands everything in.
 */
import { existsSync, rmSync } from 'node:fs';
import type { Server, Socket } from 'node:net';
import { join } from 'node:path';
import type { Clock } from '../agent/protocol/channel.ts';
import { Code, type TskataError } from '../agent/protocol/errors.ts';
import { MAX_TTRPC_MESSAGE_BYTES } from '../agent/protocol/limits.ts';
import type { Binding } from '../agent/protocol/service.ts';
import { ChannelPipe } from '../agent/protocol/ttrpc/pipe.ts';
import { TtrpcServer } from '../agent/protocol/ttrpc/server.ts';
import type { Logger } from '../runtime/host/log.ts';
import { socketChannel } from '../runtime/host/socket-channel.ts';
import type { Container } from '../runtime/sandbox/container.ts';
import type { SandboxEvent } from '../runtime/sandbox/events.ts';
import { Sandbox, type SandboxParts } from '../runtime/sandbox/sandbox.ts';
import type { SandboxConfig } from '../runtime/sandbox/sandbox-machine.ts';
import type { StateStore } from '../runtime/state/store.ts';
import type { Assign } from './assign.ts';
import { tellCrio } from './crio.ts';
import type { Records } from './records.ts';
import { topicEvent } from './task/events.ts';
import type { Publisher } from './task/publisher.ts';
import { taskBindings } from './task/service.ts';

/** Nobody created anything: whoever started us is gone. */
const UNUSED_MS = 60_000;
/** The last container was deleted and nobody said Shutdown; a next one may come. */
const IDLE_MS = 15_000;
/** How often a shim without clients looks whether containerd still knows its sandbox. */
const ORPHAN_CHECK_MS = 20_000;
/** A caller reads the answer to its Shutdown before the socket closes. */
const LAST_ANSWER_MS = 50;

/** What a shim works with. */
export interface ShimParts {
  readonly assign: Assign;
  readonly server: Server;
  readonly sandbox: Omit<SandboxParts, 'listener' | 'clock' | 'log'>;
  readonly sandboxConfig: SandboxConfig;
  readonly publisher: Publisher;
  readonly records: Records;
  readonly store: StateStore;
  readonly clock: Clock;
  readonly log: Logger;
  /** Why nothing can be created here: a broken configuration. */
  readonly refusal?: TskataError;
  /** Gives back what was made for the sandbox (the keeper), after its end. */
  readonly release: () => Promise<void>;
}

export class Shim {
  readonly sandbox: Sandbox;
  /** Resolves when everything is gone and the process may exit. */
  readonly ended: Promise<void>;
  readonly #parts: ShimParts;
  readonly #bindings: readonly Binding[];
  readonly #sockets = new Set<Socket>();
  readonly #end = Promise.withResolvers<void>();
  #cancelIdle: () => void = () => undefined;
  #cancelOrphanCheck = (): void => undefined;
  #shutdown: Promise<void> | undefined;
  /** Remove record and log of a detached container at the end. */
  #forget = false;
  /** The last Create made nothing. */
  #failed = false;

  constructor(parts: ShimParts) {
    this.#parts = parts;
    this.ended = this.#end.promise;
    const { clock, log } = parts;
    this.sandbox = new Sandbox(parts.sandboxConfig, {
      ...parts.sandbox,
      clock,
      log,
      listener: (event) => this.#follow(event),
    });
    this.#bindings = taskBindings({
      sandbox: this.sandbox,
      namespace: parts.assign.namespace,
      configPath: parts.assign.configPath,
      shimPid: process.pid,
      log,
      onCreating: (id, bundle) => this.#creating(id, bundle),
      onCreateFailed: (id) => this.#createFailed(id),
      shutdown: () => this.shutdown('asked'),
    });
    this.#endWhenIdle(UNUSED_MS);
    parts.server.on('connection', (socket) => this.#serve(socket));
  }

  /** Ends the sandbox and this shim. Resolves when the machine is gone; `ended` follows. Idempotent. */
  shutdown(reason: string): Promise<void> {
    this.#shutdown ??= this.#stop(reason);
    return this.#shutdown;
  }

  async #stop(reason: string): Promise<void> {
    const { log, clock } = this.#parts;
    log.info('shutting down', { reason });
    this.#cancelIdle();
    this.#cancelOrphanCheck();
    // Each step runs whatever became of the one before: a shim that cannot clean up must still end.
    await this.#attempt('end the sandbox', () => this.sandbox.destroy());
    await this.#attempt('end the keeper', () => this.#parts.release());
    await this.#attempt('remove the state', () => this.#forgetState());
    // The caller's answer goes out first, then nobody new comes in.
    clock.timer(LAST_ANSWER_MS, () => void this.#close());
  }

  /** containerd keeps its own books, and a container that was to be removed leaves nothing; others keep their record. */
  #forgetState(): void {
    const { assign, store } = this.#parts;
    if (!this.#forget && assign.caller === 'command') return;
    store.remove(assign.namespace, assign.id);
    if (!this.#forget) return;
    rmSync(join(assign.libRoot, 'containers', assign.namespace, assign.id), { recursive: true, force: true });
  }

  async #attempt(what: string, work: () => unknown): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#parts.log.error('shutdown step failed', { what, error: String(error) });
    }
  }

  async #close(): Promise<void> {
    const { server, publisher, assign } = this.#parts;
    server.close();
    rmSync(assign.socketPath, { force: true });
    await publisher.drain();
    publisher.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#end.resolve();
  }

  #serve(socket: Socket): void {
    const { clock, log } = this.#parts;
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#endAbandoned();
      this.#watchOrphanhood();
    });
    const channel = socketChannel(socket);
    const server = new TtrpcServer(new ChannelPipe(channel, MAX_TTRPC_MESSAGE_BYTES), this.#bindings, clock, {
      onCall: (method, durationMs, code, message) => {
        const fields = { method, durationMs: Math.round(durationMs), code };
        if (code === Code.Ok) log.debug('call', fields);
        else log.info('call failed', { ...fields, error: message });
      },
    });
    server.onEnd = () => socket.destroy();
    channel.setReading(true);
  }

  #creating(id: string, bundle: string): void {
    if (this.#parts.refusal !== undefined) throw this.#parts.refusal;
    this.#cancelIdle();
    this.#failed = false;
    this.#parts.records.creating(id, bundle);
  }

  #createFailed(id: string): void {
    this.#record(() => this.#parts.records.failed(id));
    if (!this.sandbox.idle) return;
    this.#failed = true;
    this.#endWhenIdle(IDLE_MS);
    this.#endAbandoned();
  }

  /** A record that cannot be written (a full disk) must cost neither an event nor an exit. */
  #record(write: () => void): void {
    try {
      write();
    } catch (error) {
      this.#parts.log.warn('record not written', { error: String(error) });
    }
  }

  #follow(event: SandboxEvent): void {
    const { records, publisher, log } = this.#parts;
    publisher.publish(topicEvent(event));
    this.#record(() => records.follow(event));
    this.#record(() => tellCrio(event));
    const process = 'process' in event ? event.process.execId : '';
    const exit =
      'exit' in event ? { status: event.exit.status, oomKilled: event.exit.oomKilled, reason: event.exit.reason } : {};
    log.info('transition', { event: event.type, container: event.container.id, process, ...exit });
    if (event.type === 'exited' && event.process === event.container.init) this.#exited(event);
    if (event.type === 'created' || event.type === 'exited') this.#endAbandoned();
    if (event.type === 'deleted' && event.process === event.container.init && this.#shutdown === undefined) {
      this.#endWhenIdle(IDLE_MS);
    }
  }

  /** Nobody waits for a detached container: its end is the end of the sandbox. */
  #exited(event: SandboxEvent & { type: 'exited' }): void {
    const container = this.sandbox.container(event.container.id);
    const { detached } = container.options;
    if (detached === undefined) return;
    void container.init.exited.then(() => this.#endFor(container, detached, 'the detached container has ended'));
  }

  /** A caller that waits stays connected: with no client left, nobody will start or delete what does not run. */
  #endAbandoned(): void {
    if (this.#sockets.size > 0 || this.#shutdown !== undefined) return;
    // The command that asked for it is gone and has cleaned up nothing; containerd would come back.
    if (this.#failed && this.sandbox.idle && this.#parts.assign.caller === 'command') {
      this.#forget = true;
      void this.shutdown('the caller of a container that could not be made went away');
      return;
    }
    for (const container of this.sandbox.containers) {
      const { abandoned, detached } = container.options;
      const { name } = container.init.status;
      // A detached one needs its caller until it has been started; its own exit ends it later.
      const fate = abandoned ?? (name === 'created' ? detached : undefined);
      if (fate === undefined || name === 'running' || name === 'starting') continue;
      void this.#endFor(container, fate, 'the caller of the container went away');
    }
  }

  /** Deletes a container in its caller's place and ends. */
  async #endFor(container: Container, fate: 'keep' | 'remove', reason: string): Promise<void> {
    this.#forget = fate === 'remove';
    await container.lock
      .run(() => this.sandbox.delete(container.id))
      .catch((error) => this.#parts.log.warn('container not deleted', { error: String(error) }));
    await this.shutdown(reason);
  }

  /**
   * containerd may be away for as long as it likes, but it removes the bundle of a sandbox that it gives up: a shim that
   * it could not reach then has nobody who will ever end it.
   */
  #watchOrphanhood(): void {
    const { assign, clock } = this.#parts;
    if (assign.containerdAddress === '' || this.#sockets.size > 0 || this.#shutdown !== undefined) return;
    this.#cancelOrphanCheck();
    this.#cancelOrphanCheck = clock.timer(ORPHAN_CHECK_MS, () => {
      if (this.#sockets.size > 0) return;
      if (existsSync(assign.bundle)) this.#watchOrphanhood();
      else void this.shutdown('its bundle is gone, and nobody is connected');
    });
  }

  /** One timer at a time: an older one would end what was used since. */
  #endWhenIdle(timeMs: number): void {
    this.#cancelIdle();
    this.#cancelIdle = this.#parts.clock.timer(timeMs, () => {
      if (this.sandbox.idle) void this.shutdown('idle');
    });
  }
}
