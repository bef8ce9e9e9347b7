/**
 * Owns what this shim writes into the state store: one record per container, kept true at every transition. Refuses to
 * know who reads them.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerView, SandboxEvent } from '../runtime/sandbox/events.ts';
import type { ProcessExit } from '../runtime/sandbox/status.ts';
import { findProcess } from '../runtime/state/process-ref.ts';
import type { ContainerRecord, ExitRecord, ProcessRef } from '../runtime/state/record.ts';
import type { StateStore } from '../runtime/state/store.ts';
import type { Assign } from './assign.ts';

const PREFIX = 'io.tskata.';

/** Records of one shim's containers. */
export class Records {
  readonly #assign: Assign;
  readonly #store: StateStore;
  readonly #shim: ProcessRef;
  readonly #keeperPid: () => number | undefined;
  readonly #records = new Map<string, ContainerRecord>();

  constructor(assign: Assign, store: StateStore, keeperPid: () => number | undefined) {
    this.#assign = assign;
    this.#store = store;
    this.#shim = findProcess(process.pid) ?? { pid: process.pid, startTicks: 0 };
    this.#keeperPid = keeperPid;
  }

  /** A create begins: whoever cleans up after a crash must find it. */
  creating(id: string, bundle: string): void {
    if (this.#records.has(id)) return;
    const { namespace, id: sandbox, socketPath } = this.#assign;
    this.#write({
      version: 1,
      namespace,
      id,
      sandbox,
      bundle,
      socket: socketPath,
      shim: this.#shim,
      status: 'creating',
      createdAt: new Date().toISOString(),
      annotations: {},
    });
  }

  /** A create failed: nothing of it is left, so neither is its record. The sandbox's own directory goes with the shim. */
  failed(id: string): void {
    this.#records.delete(id);
    if (id === this.#assign.id)
      rmSync(join(this.#store.directory(this.#assign.namespace, id), 'state.json'), { force: true });
    else this.#store.remove(this.#assign.namespace, id);
  }

  /** Follows a transition. */
  follow(event: SandboxEvent): void {
    const record = this.#records.get(event.container.id);
    if (record === undefined) return;
    switch (event.type) {
      case 'created':
        this.#write(this.#created(record, event.container));
        return;
      case 'started':
        if (event.process === event.container.init) {
          this.#write({ ...record, status: 'running', startedAt: new Date().toISOString() });
        }
        return;
      case 'exited':
        if (event.process === event.container.init)
          this.#write({ ...record, status: 'stopped', exit: exitRecord(event.exit) });
        return;
      case 'deleted':
        this.#deleted(record, event);
        return;
      case 'paused':
        this.#write({ ...record, status: 'paused' });
        return;
      case 'resumed':
        this.#write({ ...record, status: 'running' });
        return;
      default:
    }
  }

  #created(record: ContainerRecord, container: ContainerView): ContainerRecord {
    const entries = Object.entries(container.spec.annotations ?? {}).filter(([name]) => name.startsWith(PREFIX));
    const keeper = findRef(this.#keeperPid());
    const qemu = findRef(container.machinePid);
    return {
      ...record,
      ...(keeper === undefined ? {} : { keeper }),
      ...(qemu === undefined ? {} : { qemu }),
      status: 'created',
      pid: container.init.pid,
      annotations: Object.fromEntries(entries),
    };
  }

  /** containerd keeps its own books; for the command line the record is what is left of an ended container. */
  #deleted(record: ContainerRecord, event: SandboxEvent & { type: 'deleted' }): void {
    if (event.process !== event.container.init) return;
    this.#records.delete(record.id);
    if (this.#assign.caller === 'command') {
      this.#store.write({ ...record, status: 'stopped', exit: exitRecord(event.exit) });
    } else if (record.id !== this.#assign.id) {
      this.#store.remove(record.namespace, record.id);
    }
  }

  #write(record: ContainerRecord): void {
    this.#records.set(record.id, record);
    this.#store.write(record);
  }
}

function findRef(pid: number | undefined): ProcessRef | undefined {
  return pid === undefined ? undefined : findProcess(pid);
}

function exitRecord(exit: ProcessExit): ExitRecord {
  const { status, oomKilled, reason } = exit;
  return { status, at: exit.at.toISOString(), oomKilled, ...(reason === undefined ? {} : { reason }) };
}
