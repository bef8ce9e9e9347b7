/**
 * The interface of a virtual machine, as the rest of the runtime sees it. It knows no container and no task, and only
 * `runtime/qemu` implements it. A handle is alive from `start` to `ended`.
 */
import type { Channel } from '../../agent/protocol/channel.ts';

/** Sizes and devices that a machine has from its first instruction on. */
export interface VmConfig {
  /** Name of the machine profile in qemu-configs ("q35-kvm", "q35-tcg", ...), or 'auto' for what the host can do. */
  readonly profile: string;
  readonly memoryMib: number;
  readonly vcpus: number;
  /** Guest kernel (bzImage or PVH ELF) and initrd, host paths. */
  readonly kernel: string;
  readonly initrd: string;
  readonly disks: readonly DiskConfig[];
  readonly shares: readonly ShareConfig[];
  readonly nics: readonly NicConfig[];
  /** Adds the early console and the guest's debug messages. */
  readonly debug: boolean;
}

/** A raw image file as a virtio-blk disk. Slot k is always at the same PCI path, whatever is in it. */
export interface DiskConfig {
  readonly slot: number;
  readonly path: string;
  readonly readOnly: boolean;
  /** Nobody reads the file after the machine has ended (scratch disks): flushes of the guest are not carried out. */
  readonly ephemeral?: boolean;
}

/** A host directory shown through virtio-fs by one confined virtiofsd. */
export interface ShareConfig {
  readonly tag: string;
  readonly directory: string;
  readonly readOnly: boolean;
}

/** A network card of the guest, which is known by its hardware address. */
export interface NicConfig {
  readonly mac: string;
  readonly backend:
    | { readonly type: 'user'; readonly address: string; readonly gateway: string; readonly dns: readonly string[] }
    /** Name of a tap in the sandbox's network namespace, made when there is none; packets go by vhost where it is usable. */
    | { readonly type: 'tap'; readonly tap: string };
}

/** Why a machine ended; exactly one per machine. */
export interface VmEnd {
  readonly cause: 'asked' | 'powered-off' | 'panicked' | 'killed' | 'failed' | 'helper-died';
  /** One phrase for people. */
  readonly message: string;
  /** The last lines of the guest's console: untrusted, bounded, control characters replaced. */
  readonly consoleTail: readonly string[];
  /** The last lines that QEMU wrote to its standard error, bounded. */
  readonly stderrTail: readonly string[];
}

/** A running machine. */
export interface Vm {
  /** The agent's control port and bytes port. */
  readonly control: Channel;
  readonly bytes: Channel;
  /** Settles once, whatever happened. Never rejects. */
  readonly ended: Promise<VmEnd>;
  /** Accelerator in use, and the sentence that says why. */
  readonly accelerator: 'kvm' | 'tcg';
  readonly qemuPid: number;
  /** PCI path of a disk slot as the agent's BlockStorage wants it ("05.0/00.0"). */
  diskPath(slot: number): string;
  /** Hot-plugs a disk into a free slot. */
  attachDisk(disk: DiskConfig): Promise<void>;
  /** Throws when the guest has not let go of it by a deadline; the slot is empty when it has. */
  detachDisk(slot: number): Promise<void>;
  /** Whether a disk is in that slot. */
  hasDisk(slot: number): boolean;
  /** Hot-plugs a share. */
  attachShare(share: ShareConfig): Promise<void>;
  /** Hot-plugs a network card with a tap. */
  attachNic(nic: NicConfig): Promise<void>;
  /** Takes the card of that hardware address out. */
  detachNic(mac: string): Promise<void>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Writes the paused machine's state for a later restore (memory file plus device state). */
  save(directory: string): Promise<void>;
  /** Ends QEMU and its helpers and waits until they are gone. Idempotent. */
  stop(): Promise<void>;
}

/** Makes machines. `shim/commands/serve.ts` hands the QEMU one to the sandbox. */
export interface VmFactory {
  /** Boots. Errors carry the phase, QEMU's words and the last console lines; nothing is left behind. */
  start(config: VmConfig): Promise<Vm>;
  /** Brings back a saved machine. The configuration must equal the saved one in all but file contents. */
  restore(config: VmConfig, directory: string): Promise<Vm>;
}
