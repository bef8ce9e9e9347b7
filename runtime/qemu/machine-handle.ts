/**
 * A running QEMU behind the `Vm` interface: its monitor, its end, pause and resume, and what plugs and saves through
 * the modules for that. It knows no container; how the command line came about is not its business.
 */
import type { Channel, Clock } from '../../agent/protocol/channel.ts';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Child, ProcessHost } from '../vm/process-host.ts';
import type { DiskConfig, NicConfig, ShareConfig, Vm, VmConfig, VmEnd } from '../vm/vm.ts';
import { causeOfEvent, type Ending } from './ending.ts';
import { Hotplug } from './hotplug.ts';
import type { QmpClient } from './qmp/client.ts';
import { own, type QmpObject } from './qmp/decoder.ts';
import { saveMachine } from './save.ts';
import type { SavedIdentity } from './saved.ts';
import type { Layout } from './slots.ts';
import type { ShareDaemons } from './virtiofsd.ts';

/** SIGKILL's number. */
const KILL = 9;

/** What a handle is made of. */
export interface MachineResources {
  readonly config: VmConfig;
  readonly layout: Layout;
  readonly accelerator: 'kvm' | 'tcg';
  readonly qemu: Child;
  readonly qmp: QmpClient;
  readonly control: Channel;
  readonly bytes: Channel;
  readonly ending: Ending;
  readonly host: ProcessHost;
  readonly shares: ShareDaemons;
  readonly hostDevices: ReadonlySet<string>;
  /** Taps that are plugged get vhost. */
  readonly vhostNet: boolean;
  readonly clock: Clock;
  /** Host directory of the sockets that QEMU sees. */
  readonly socketDirectory: string;
  readonly identity: () => Promise<SavedIdentity>;
  /** Undoes everything else: files, log. */
  readonly release: () => Promise<void>;
}

/** The implementation of `Vm`. */
export class Machine implements Vm {
  readonly control: Channel;
  readonly bytes: Channel;
  readonly ended: Promise<VmEnd>;
  readonly accelerator: 'kvm' | 'tcg';
  readonly qemuPid: number;
  /** Settles when the guest has opened both of the agent's ports. */
  readonly ready: Promise<void>;
  /** Called for each step of a save or a restore that QEMU reports. */
  onMigration: (data: QmpObject) => void = () => {};
  readonly #parts: MachineResources;
  readonly #hotplug: Hotplug;
  readonly #openPorts = new Set<string>();
  #settleReady: () => void = () => {};
  #stopping: Promise<void> | undefined;
  #paused = false;
  #isOver = false;

  constructor(parts: MachineResources) {
    this.#parts = parts;
    this.control = parts.control;
    this.bytes = parts.bytes;
    this.ended = parts.ending.ended;
    this.accelerator = parts.accelerator;
    this.qemuPid = parts.qemu.pid;
    this.#hotplug = new Hotplug(parts);
    this.ready = new Promise((resolve) => {
      this.#settleReady = resolve;
    });
    parts.qmp.onEvent = (name, data) => this.#onEvent(name, data);
    void parts.qmp.closed.then((reason) => this.#onMonitorEnd(reason));
    void this.ended.then(() => {
      this.#isOver = true;
    });
  }

  diskPath(slot: number): string {
    return this.#hotplug.diskPath(slot);
  }

  async attachDisk(disk: DiskConfig): Promise<void> {
    this.#assertAlive('attach disk');
    await this.#hotplug.attachDisk(disk);
  }

  async detachDisk(slot: number): Promise<void> {
    this.#assertAlive('detach disk');
    await this.#hotplug.detachDisk(slot);
  }

  hasDisk(slot: number): boolean {
    return this.#hotplug.hasDisk(slot);
  }

  async attachShare(share: ShareConfig): Promise<void> {
    this.#assertAlive('attach share');
    await this.#hotplug.attachShare(share);
  }

  async attachNic(nic: NicConfig): Promise<void> {
    this.#assertAlive('attach network card');
    await this.#hotplug.attachNic(nic);
  }

  async detachNic(mac: string): Promise<void> {
    this.#assertAlive('detach network card');
    await this.#hotplug.detachNic(mac);
  }

  async pause(): Promise<void> {
    this.#assertAlive('pause');
    await this.#parts.qmp.execute('stop');
    this.#paused = true;
  }

  async resume(): Promise<void> {
    this.#assertAlive('resume');
    await this.#parts.qmp.execute('cont');
    this.#paused = false;
  }

  async save(directory: string): Promise<void> {
    this.#assertAlive('save');
    if (!this.#paused) throw new TskataError(Code.FailedPrecondition, 'save VM: it is running; pause it first');
    await saveMachine(this.#parts, directory);
  }

  /** Says why the machine is about to be stopped, when nobody asked for its end. */
  fail(message: string): void {
    this.#parts.ending.note('failed', message);
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const { ending, host, qmp, control, bytes, release } = this.#parts;
    ending.note('asked', 'the machine was stopped');
    // Nothing in the machine is worth an orderly end here: the agent has unmounted what had to be. Closing the host of
    // processes kills every child of the sandbox and waits for them.
    await host.close();
    await this.ended;
    qmp.close();
    control.close();
    bytes.close();
    await release();
  }

  #onEvent(name: string, data: QmpObject): void {
    if (name === 'VSERPORT_CHANGE') {
      this.#onPort(own(data, 'id'), own(data, 'open') === true);
      return;
    }
    if (name === 'MIGRATION') this.onMigration(data);
    this.#hotplug.onEvent(name, data);
    const cause = causeOfEvent(name, data);
    if (cause === undefined) return;
    this.#parts.ending.note(cause.cause, cause.message);
    if (cause.cause === 'panicked') void this.#endPanicked();
  }

  #onPort(id: unknown, open: boolean): void {
    if (id !== 'control' && id !== 'bytes') return;
    if (open) this.#openPorts.add(id);
    else this.#openPorts.delete(id);
    if (this.#openPorts.size === 2) this.#settleReady();
  }

  /** The paused machine answers one more command, by which its main loop has passed on the last console lines. */
  async #endPanicked(): Promise<void> {
    const { qmp, qemu } = this.#parts;
    await qmp.execute('query-status').catch(() => undefined);
    await qemu.signal(KILL);
  }

  #onMonitorEnd(reason: Error): void {
    if (this.#stopping !== undefined || this.#isOver) return;
    // A QEMU that has just exited closes its monitor first; its status explains more, so this cause waits for that.
    const cancel = this.#parts.clock.timer(MONITOR_GRACE_MS, () => {
      this.#parts.ending.note('failed', reason.message);
      void this.#parts.qemu.signal(KILL);
    });
    void this.ended.then(cancel);
  }

  #assertAlive(operation: string): void {
    if (this.#stopping !== undefined || this.#isOver) {
      throw new TskataError(Code.FailedPrecondition, `${operation}: the machine has ended`);
    }
  }
}

/** Between the end of the monitor and that of the process. */
const MONITOR_GRACE_MS = 1000;
