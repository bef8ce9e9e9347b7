/**
 * Plugs disks, shares and network cards into a running machine and out of it, each with its undo when a step fails. It knows the parts
 * and the slots; the guest's half (finding, mounting) is the agent's.
 */
import { stat } from 'node:fs/promises';
import type { Clock } from '../../agent/protocol/channel.ts';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { ProcessHost } from '../vm/process-host.ts';
import type { DiskConfig, NicConfig, ShareConfig, VmConfig } from '../vm/vm.ts';
import { diskPart, fdsetOf, socketPath } from './cmdline.ts';
import { disk, diskId, netdevId, nicDevice, nicId, share } from './devices.ts';
import { type Part, partToQmp, partToUndo } from './parts.ts';
import type { QmpClient } from './qmp/client.ts';
import { own, type QmpObject } from './qmp/decoder.ts';
import { diskPlace, type Layout, nicPlace, pathOf, sharePlace } from './slots.ts';
import type { ShareDaemons } from './virtiofsd.ts';

/** The guest lets a device go within milliseconds, or never. */
const UNPLUG_TIMEOUT_MS = 10_000;

/** What plugging needs of a machine. */
export interface HotplugResources {
  readonly config: VmConfig;
  readonly layout: Layout;
  readonly qmp: QmpClient;
  readonly host: ProcessHost;
  readonly shares: ShareDaemons;
  readonly clock: Clock;
  /** The kernel moves the packets of taps (vhost). */
  readonly vhostNet: boolean;
}

/** The slots of one machine and what is in them. */
export class Hotplug {
  readonly #machine: HotplugResources;
  readonly #disks: Map<number, { readonly hostDevice: boolean; readonly config: DiskConfig }>;
  readonly #tags: Set<string>;
  readonly #leaving = new Map<string, () => void>();
  #shareCount: number;
  /** Hardware addresses by the card's number. */
  readonly #nics: Map<number, string>;

  constructor(machine: HotplugResources & { readonly hostDevices: ReadonlySet<string> }) {
    this.#machine = machine;
    this.#disks = new Map(
      machine.config.disks.map((config) => [config.slot, { config, hostDevice: machine.hostDevices.has(config.path) }]),
    );
    this.#tags = new Set(machine.config.shares.map((one) => one.tag));
    this.#shareCount = machine.config.shares.length;
    this.#nics = new Map(machine.config.nics.map(({ mac }, index) => [index, mac]));
  }

  diskPath(slot: number): string {
    return pathOf(diskPlace(this.#machine.layout, slot));
  }

  async attachDisk(config: DiskConfig): Promise<void> {
    const { slot, path, readOnly } = config;
    diskPlace(this.#pluggable('attach disk'), slot);
    if (this.#disks.has(slot)) throw new TskataError(Code.AlreadyExists, `attach disk ${path}: slot ${slot} is taken`);
    const hostDevice = (await describeDisk(path)).hostDevice;
    this.#disks.set(slot, { config, hostDevice });
    try {
      await this.#machine.host.addDescriptor(fdsetOf(slot), path, !readOnly);
      await this.#add(disk(this.#machine.layout, diskPart(config, this.#machine.config.vcpus, hostDevice)), () =>
        this.#removeDescriptor(slot),
      );
    } catch (error) {
      this.#disks.delete(slot);
      throw wrap(`attach disk ${path} to slot ${slot}`, error);
    }
  }

  async detachDisk(slot: number): Promise<void> {
    const held = this.#disks.get(slot);
    if (held === undefined) throw new TskataError(Code.NotFound, `detach disk: slot ${slot} is empty`);
    const parts = disk(this.#machine.layout, diskPart(held.config, this.#machine.config.vcpus, held.hostDevice));
    try {
      await this.#unplug(diskId(slot), async () => {
        await this.#undo(parts.filter((part) => part.kind !== 'device'));
        await this.#removeDescriptor(slot);
        this.#disks.delete(slot);
      });
    } catch (error) {
      throw wrap(`detach disk from slot ${slot}`, error);
    }
  }

  hasDisk(slot: number): boolean {
    return this.#disks.has(slot);
  }

  async attachShare(config: ShareConfig): Promise<void> {
    if (this.#tags.has(config.tag)) {
      throw new TskataError(Code.AlreadyExists, `attach share ${config.directory}: tag ${config.tag} is taken`);
    }
    const index = this.#shareCount;
    sharePlace(this.#pluggable('attach share'), index);
    this.#shareCount += 1;
    this.#tags.add(config.tag);
    try {
      await this.#machine.shares.start(index, config);
      await this.#add(share(this.#machine.layout, index, config.tag, socketPath(index)), async () => {});
    } catch (error) {
      this.#tags.delete(config.tag);
      throw wrap(`attach share ${config.directory}`, error);
    }
  }

  async attachNic({ mac, backend }: NicConfig): Promise<void> {
    if (backend.type !== 'tap') {
      throw new TskataError(Code.InvalidArgument, `attach network card ${mac}: only one with a tap can be plugged`);
    }
    const layout = this.#pluggable('attach network card');
    const index = this.#freeNic();
    nicPlace(layout, index);
    this.#nics.set(index, mac);
    try {
      await this.#machine.host.addTap(netdevId(index), backend.tap, this.#machine.vhostNet);
      await this.#add([nicDevice(layout, index, mac)], () => this.#removeNetdev(index));
    } catch (error) {
      this.#nics.delete(index);
      throw wrap(`attach network card ${mac}`, error);
    }
  }

  async detachNic(mac: string): Promise<void> {
    const [index] = [...this.#nics].find(([, held]) => held === mac) ?? [];
    if (index === undefined) throw new TskataError(Code.NotFound, `detach network card ${mac}: there is none`);
    try {
      await this.#unplug(nicId(index), async () => {
        await this.#removeNetdev(index);
        this.#nics.delete(index);
      });
    } catch (error) {
      throw wrap(`detach network card ${mac}`, error);
    }
  }

  /** Takes an event of the monitor. */
  onEvent(name: string, data: QmpObject): void {
    if (name !== 'DEVICE_DELETED') return;
    const device = own(data, 'device');
    if (typeof device === 'string') this.#leaving.get(device)?.();
  }

  #pluggable(operation: string): Layout {
    if (this.#machine.layout === 'bridge') return 'bridge';
    throw new TskataError(Code.FailedPrecondition, `${operation}: this machine profile has no hotplug; take a q35 one`);
  }

  async #add(parts: readonly Part[], finallyUndo: () => Promise<void>): Promise<void> {
    const done: Part[] = [];
    try {
      for (const part of parts) {
        const { command, args } = partToQmp(part);
        await this.#machine.qmp.execute(command, args);
        done.push(part);
      }
    } catch (error) {
      await this.#undo(done).catch(() => undefined);
      await finallyUndo().catch(() => undefined);
      throw error;
    }
  }

  async #undo(parts: readonly Part[]): Promise<void> {
    for (const part of parts.toReversed()) {
      const { command, args } = partToUndo(part);
      await this.#machine.qmp.execute(command, args);
    }
  }

  async #removeDescriptor(slot: number): Promise<void> {
    await this.#machine.qmp.execute('remove-fd', { 'fdset-id': fdsetOf(slot) });
  }

  #freeNic(): number {
    let index = 0;
    while (this.#nics.has(index)) index += 1;
    return index;
  }

  async #removeNetdev(index: number): Promise<void> {
    await this.#machine.qmp.execute('netdev_del', { id: netdevId(index) });
  }

  /**
   * Takes a device out, and then, by `finish`, what is behind it. Rejects when the guest has not let go of the device in
   * time; whenever it does, `finish` follows.
   */
  async #unplug(device: string, finish: () => Promise<void>): Promise<void> {
    if (this.#leaving.has(device)) throw new Error('the guest has been asked before, and has not let go of it yet');
    const gone = Promise.withResolvers<void>();
    // Without the command, and after the deadline, nobody waits for it.
    gone.promise.catch(() => undefined);
    this.#leaving.set(device, () => {
      this.#leaving.delete(device);
      void finish().then(gone.resolve, gone.reject);
    });
    try {
      await this.#machine.qmp.execute('device_del', { id: device });
    } catch (error) {
      this.#leaving.delete(device);
      throw error;
    }
    const cancel = this.#machine.clock.timer(UNPLUG_TIMEOUT_MS, () => {
      gone.reject(new Error(`the guest did not let go of it within ${UNPLUG_TIMEOUT_MS} ms`));
    });
    try {
      await gone.promise;
    } finally {
      cancel();
    }
  }
}

/** What a disk's path is. @throws TskataError not_found, invalid_argument. */
export async function describeDisk(path: string): Promise<{ readonly hostDevice: boolean }> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw new TskataError(Code.NotFound, `open disk ${path}: no such file`);
  if (!found.isFile() && !found.isBlockDevice()) {
    throw new TskataError(Code.InvalidArgument, `open disk ${path}: neither a regular file nor a block device`);
  }
  return { hostDevice: found.isBlockDevice() };
}

function wrap(operation: string, error: unknown): TskataError {
  const { code, message } = TskataError.from(error);
  return new TskataError(code === Code.Unknown ? Code.Internal : code, `${operation}: ${message}`, error);
}
