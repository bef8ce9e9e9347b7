/**
 * The whole command line of QEMU, as a pure function of the profile, the machine's configuration and the files at hand.
 * It only puts together what machine.ts, devices.ts and kernel-params.ts say. Golden tests hold its output.
 */

import assert from 'node:assert/strict';
import type { ChildDescriptor } from '../vm/process-host.ts';
import type { NicConfig, VmConfig } from '../vm/vm.ts';
import * as devices from './devices.ts';
import { kernelLine } from './kernel-params.ts';
import { machineArgv } from './machine.ts';
import { type Part, partToArgv } from './parts.ts';
import type { MachineProfile } from './profile.ts';
import type { Layout } from './slots.ts';

/** Paths as QEMU sees them in its own root. */
export const JAIL_KERNEL = '/boot/kernel';
export const JAIL_INITRD = '/boot/initrd';
export const JAIL_MEMORY = '/memory';
/** Directory of the sockets of virtiofsd and of saving. */
export const JAIL_SOCKETS = '/sockets';

/** What the host adds to the configuration. */
export interface CommandLineInput {
  readonly profile: MachineProfile;
  readonly config: VmConfig;
  readonly hostTscKhz: number | undefined;
  /** Which disk paths are block devices of the host. */
  readonly hostDevices: ReadonlySet<string>;
  /** The kernel moves the packets of a tap (vhost). */
  readonly vhostNet: boolean;
  /** Address of the machine, for a profile whose agent is reached over vsock. */
  readonly vsockCid?: number;
  /** The machine continues from a saved state: guest memory is a file, device state comes by this descriptor. */
  readonly restoreFrom?: { readonly deviceState: string };
}

/** The command line and the descriptors that its numbers mean. */
export interface CommandLine {
  readonly args: readonly string[];
  readonly descriptors: readonly ChildDescriptor[];
  /** QEMU's number of the saved device state. */
  readonly deviceStateFd?: number;
}

/** Numbers descriptors in the order in which they are asked for; a child's begin at 3. */
class DescriptorList {
  readonly list: ChildDescriptor[] = [];

  add(descriptor: ChildDescriptor): number {
    this.list.push(descriptor);
    return 2 + this.list.length;
  }
}

/** Composes QEMU's arguments. */
export function composeCommandLine(input: CommandLineInput): CommandLine {
  const { profile, config } = input;
  const fds = new DescriptorList();
  const layout = layoutOf(profile);
  const qmpFd = fds.add({ kind: 'inherited', name: 'qmp' });
  const consoleFd = fds.add({ kind: 'inherited', name: 'console' });
  const agent = agentParts(profile, input.vsockCid, fds);
  const helperFd = fds.add({ kind: 'pair', name: 'qmp-fd' });
  const parts: Part[] = [
    devices.memory(config.memoryMib, input.restoreFrom === undefined ? undefined : JAIL_MEMORY),
    ...(layout === 'bridge' ? [devices.slotsBridge()] : []),
    ...devices.serialConsole(consoleFd),
    ...agent,
    ...devices.rng(),
    ...devices.balloon(layout),
    ...devices.panicNotifier(),
  ];
  const sets: string[] = [];
  for (const disk of config.disks) {
    const fd = fds.add({ kind: 'file', path: disk.path, writable: !disk.readOnly });
    sets.push('-add-fd', `fd=${fd},set=${fdsetOf(disk.slot)}`);
    parts.push(...devices.disk(layout, diskPart(disk, config.vcpus, input.hostDevices.has(disk.path))));
  }
  config.shares.forEach((share, index) => {
    parts.push(...devices.share(layout, index, share.tag, socketPath(index)));
  });
  config.nics.forEach((nic, index) => {
    parts.push(netdevPart(index, nic, input.vhostNet, fds), devices.nicDevice(layout, index, nic.mac));
  });
  const restore = restoreParts(input.restoreFrom, fds);
  const args = [
    ...machineArgv(profile, config),
    ...monitor('qmp', qmpFd),
    ...monitor('qmp-fd', helperFd),
    ...sets,
    ...parts.flatMap(partToArgv),
    '-kernel',
    JAIL_KERNEL,
    '-initrd',
    JAIL_INITRD,
    '-append',
    kernelLine(profile, config.debug, input.hostTscKhz),
    ...restore.args,
  ];
  const { deviceStateFd } = restore;
  return { args, descriptors: fds.list, ...(deviceStateFd === undefined ? {} : { deviceStateFd }) };
}

/** Set of descriptors for a disk slot; sets are numbered from 1. */
export function fdsetOf(slot: number): number {
  return slot + 1;
}

/** Only q35 has hotplug, by ACPI; a microvm has what it was started with. */
export function layoutOf(profile: MachineProfile): Layout {
  return profile.machine === 'q35' ? 'bridge' : 'flat';
}

/** Where QEMU finds the socket of the n-th share. */
export function socketPath(index: number): string {
  return `${JAIL_SOCKETS}/share${index}.sock`;
}

/** A disk of the configuration as a part of the machine. */
export function diskPart(disk: VmConfig['disks'][number], vcpus: number, hostDevice: boolean): devices.DiskPart {
  return {
    slot: disk.slot,
    fdset: fdsetOf(disk.slot),
    readOnly: disk.readOnly,
    ephemeral: disk.ephemeral === true,
    hostDevice,
    vcpus,
  };
}

function monitor(id: string, fd: number): string[] {
  return ['-chardev', `socket,id=${id},fd=${fd}`, '-mon', `chardev=${id},mode=control`];
}

function agentParts(profile: MachineProfile, vsockCid: number | undefined, fds: DescriptorList): Part[] {
  if (profile.agentTransport === 'serial') {
    const control = fds.add({ kind: 'inherited', name: 'control' });
    return devices.agentPorts({ control, bytes: fds.add({ kind: 'inherited', name: 'bytes' }) });
  }
  assert(vsockCid !== undefined, `machine profile ${profile.name}: no vsock address was claimed`);
  return [devices.vsock(vsockCid, fds.add({ kind: 'vhost-vsock' }))];
}

function netdevPart(index: number, nic: NicConfig, vhostNet: boolean, fds: DescriptorList): Part {
  if (nic.backend.type === 'user') return devices.streamNetdev(index, fds.add({ kind: 'pair', name: 'usernet' }));
  const tap = fds.add({ kind: 'tap', name: nic.backend.tap });
  return devices.tapNetdev(index, tap, vhostNet ? fds.add({ kind: 'vhost-net' }) : undefined);
}

function restoreParts(
  from: CommandLineInput['restoreFrom'],
  fds: DescriptorList,
): { readonly args: readonly string[]; readonly deviceStateFd?: number } {
  if (from === undefined) return { args: [] };
  const fd = fds.add({ kind: 'file', path: from.deviceState, writable: false });
  return { args: ['-incoming', 'defer'], deviceStateFd: fd };
}
