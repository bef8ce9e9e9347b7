/**
 * The machine itself in words of the command line: type, accelerator, CPU, memory size, firmware, and everything that
 * is switched off. It knows no device and no file of a sandbox.
 */
import { MEMORY_ID } from './devices.ts';
import type { MachineProfile } from './profile.ts';

/** All of QEMU's system call filters: no obsolete calls, no gain of rights, no new program, no change of priorities. */
const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';

/** Sizes of the machine. */
export interface MachineSize {
  readonly memoryMib: number;
  readonly vcpus: number;
}

/** Words that make an empty machine of the profile. */
export function machineArgv(profile: MachineProfile, size: MachineSize): string[] {
  const { model, features } = profile.cpu;
  const globals = Object.entries(profile.globals).flatMap(([name, value]) => ['-global', `${name}=${value}`]);
  return [
    // Nothing that was not asked for: no default devices, no files of the user or of /etc, no display.
    '-nodefaults',
    '-no-user-config',
    '-display',
    'none',
    '-machine',
    join(profile.machine, { ...profile.machineOptions, 'memory-backend': MEMORY_ID }),
    '-accel',
    join(profile.accelerator, profile.acceleratorOptions),
    '-cpu',
    join(model, features),
    '-smp',
    `cpus=${size.vcpus},sockets=1,cores=${size.vcpus},threads=1`,
    '-m',
    `${size.memoryMib}M`,
    '-bios',
    profile.firmware,
    ...globals,
    // A reset ends the machine: its state of before cannot be trusted, and its disks are gone. A panicked machine stays,
    // paused, until its last console lines have been read.
    '-action',
    'reboot=shutdown,shutdown=poweroff,panic=pause',
    '-sandbox',
    SANDBOX,
  ];
}

function join(head: string, options: { readonly [key: string]: string }): string {
  return [head, ...Object.entries(options).map(([key, value]) => `${key}=${value}`)].join(',');
}
