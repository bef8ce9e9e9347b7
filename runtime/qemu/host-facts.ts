/**
 * The type of what is known about this host before a machine is started on it. `probe.ts` finds it out; others only read.
 */
import type { ChildBind } from '../vm/process-host.ts';
import type { VirtiofsdProgram } from './virtiofsd.ts';

/** The oldest QEMU whose options we use (`-netdev stream`, Debian 12). */
export const MIN_QEMU_VERSION = '7.2.0';

/** QEMU as it is installed. */
export interface QemuProgram {
  readonly executable: string;
  /** "7.2.22". */
  readonly version: string;
  /** The program, its libraries and its firmware: all that its root holds of the host. */
  readonly binds: readonly ChildBind[];
}

/** Which accelerator and why, in one sentence for people. */
export interface AcceleratorChoice {
  readonly name: 'kvm' | 'tcg';
  readonly reason: string;
}

/** All of it. */
export interface HostFacts {
  readonly qemu: QemuProgram;
  readonly virtiofsd: VirtiofsdProgram | undefined;
  readonly accelerator: AcceleratorChoice;
  /** Rate of the host's time stamp counter. */
  readonly tscKhz: number | undefined;
  /** Directory for answers that can be found again, writable for root only. */
  readonly cacheDirectory: string;
}
