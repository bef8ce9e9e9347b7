/**
 * Owns the device program that is attached to one cgroup: replaced at once when the rules change, so that no moment is
 * without one.
 */
import type { DeviceRule } from '../../protocol/generated/agent.ts';
import { attachBpf, BPF_F } from '../../sys/bpf.ts';
import { close } from '../../sys/calls.ts';
import type { Sys } from '../../sys/sys.ts';
import type { Device } from '../spec.ts';
import { deviceProgram, ownDevices } from './device-program.ts';
import { devicePolicy } from './device-rules.ts';

export class DeviceGuard {
  private readonly sys: Sys;
  private readonly cgroupFd: number;
  private programFd: number | undefined;

  constructor(sys: Sys, cgroupFd: number) {
    this.sys = sys;
    this.cgroupFd = cgroupFd;
  }

  /** Puts rules in force. ALLOW_MULTI: groups below may have programs of their own, and all must agree. */
  apply(rules: readonly DeviceRule[], devices: readonly Device[]): void {
    const program = deviceProgram(devicePolicy(rules, devices), ownDevices(this.sys));
    const before = this.programFd;
    this.programFd = attachBpf(this.sys, this.cgroupFd, program, BPF_F.ALLOW_MULTI, before);
    if (before !== undefined) close(this.sys, before);
  }

  /** Forgets the descriptor; the program stays until the cgroup is removed. */
  close(): void {
    if (this.programFd !== undefined) close(this.sys, this.programFd);
    this.programFd = undefined;
  }
}
