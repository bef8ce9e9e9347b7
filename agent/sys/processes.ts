/**
 * Owns the typed calls on processes, namespaces, signals, clock and machine. Each throws `SysError` unless its docstring
 * says that it returns -errno. Starting processes is `Sys.spawn`; their ends are in `children.ts`.
 */
import { E } from './errno.ts';
import { check } from './errors.ts';
import { CLOCK, O, PR, RLIMIT, SFD, SIG_HOW, W } from './linux.ts';
import { parseSiginfo, rlimit, SIGINFO_BYTES, sigset, timespecNs, utf8, viewOf, type WaitStatus } from './structs.ts';
import type { Sys } from './sys.ts';
import { SYS } from './syscalls.ts';

/** waitid without blocking: an ended child, undefined when none has ended, or -ECHILD when there are no children. */
export function waitidNoHang(sys: Sys, kind: number, id: number, extra = 0): WaitStatus | undefined | number {
  const info = new Uint8Array(SIGINFO_BYTES);
  const result = sys.call(SYS.waitid, kind, id, info, W.EXITED | W.NOHANG | extra, null);
  if (result === -E.ECHILD) return result;
  check(result, 'waitid', id);
  const status = parseSiginfo(info);
  return status.pid === 0 ? undefined : status;
}

/** kill. Returns 0, or -errno: -ESRCH when nobody is there. */
export function kill(sys: Sys, pid: number, signal: number): number {
  return sys.call(SYS.kill, pid, signal);
}

/** pidfd_send_signal. Returns 0, or -errno: -ESRCH when the process has ended. */
export function pidfdSendSignal(sys: Sys, pidfd: number, signal: number): number {
  return sys.call(SYS.pidfd_send_signal, pidfd, signal, null, 0);
}

/** A copy of descriptor `fd` of another process, close-on-exec. */
export function pidfdGetfd(sys: Sys, pidfd: number, fd: number): number {
  return check(sys.call(SYS.pidfd_getfd, pidfd, fd, 0), 'pidfd_getfd', fd);
}

/** Enters the namespace of a descriptor (or, with a pidfd, several by CLONE.* flags). Changes this process: short-lived programs only. */
export function setns(sys: Sys, fd: number, type: number): void {
  check(sys.call(SYS.setns, fd, type), 'setns', fd);
}

/** Leaves namespaces. Changes this process. */
export function unshare(sys: Sys, flags: number): void {
  check(sys.call(SYS.unshare, flags), 'unshare', `0x${flags.toString(16)}`);
}

function prctl(sys: Sys, option: number, argument: number | bigint | string = 0, second = 0): number {
  return check(sys.call(SYS.prctl, option, argument, second, 0, 0), 'prctl', option);
}

/** Has the kernel send `signal` to this process when its parent ends. */
export function setParentDeathSignal(sys: Sys, signal: number): void {
  prctl(sys, PR.SET_PDEATHSIG, signal);
}

export function sethostname(sys: Sys, name: string): void {
  check(sys.call(SYS.sethostname, name, utf8(name).length), 'sethostname', name);
}

/** Sets the wall clock, nanoseconds since the epoch. */
export function setRealtime(sys: Sys, ns: bigint): void {
  check(sys.call(SYS.clock_settime, CLOCK.REALTIME, timespecNs(ns)), 'clock_settime');
}

/** Time of a clock (CLOCK.*) in nanoseconds. */
export function clockNs(sys: Sys, clock: number): bigint {
  const bytes = new Uint8Array(16);
  check(sys.call(SYS.clock_gettime, clock, bytes), 'clock_gettime', clock);
  const view = viewOf(bytes);
  return view.getBigInt64(0, true) * 1_000_000_000n + view.getBigInt64(8, true);
}

/** reboot with RB.*; what is not synced is lost. */
export function reboot(sys: Sys, command: number): void {
  check(sys.call(SYS.reboot, 0xfee1dead, 672274793, command, null), 'reboot');
}

/** Sets soft and hard limit of a resource (RLIMIT.*) of a process, 0 for this one. 2^64-1 is unlimited. */
function setResourceLimit(sys: Sys, pid: number, resource: number, soft: bigint, hard: bigint): void {
  check(sys.call(SYS.prlimit64, pid, resource, rlimit(soft, hard), null), 'prlimit', resource);
}

/** Soft and hard limit of a resource. */
export function resourceLimit(sys: Sys, pid: number, resource: number): { soft: bigint; hard: bigint } {
  const bytes = new Uint8Array(16);
  check(sys.call(SYS.prlimit64, pid, resource, null, bytes), 'prlimit', resource);
  return { soft: viewOf(bytes).getBigUint64(0, true), hard: viewOf(bytes).getBigUint64(8, true) };
}

/** Raises the number of descriptors that this process may open. */
export function raiseDescriptorLimit(sys: Sys, count: number): void {
  const { hard } = resourceLimit(sys, 0, RLIMIT.NOFILE);
  const wanted = BigInt(count);
  setResourceLimit(sys, 0, RLIMIT.NOFILE, wanted, hard > wanted ? hard : wanted);
}

/** Blocks signals and opens a descriptor that reads them (128-byte records), non-blocking and close-on-exec. */
export function signalFd(sys: Sys, signals: readonly number[]): number {
  const set = sigset(signals);
  check(sys.call(SYS.rt_sigprocmask, SIG_HOW.BLOCK, set, null, 8), 'rt_sigprocmask');
  return check(sys.call(SYS.signalfd4, -1, set, 8, SFD.CLOEXEC | SFD.NONBLOCK), 'signalfd');
}

/** eventfd, non-blocking and close-on-exec. */
export function eventFd(sys: Sys): number {
  return check(sys.call(SYS.eventfd2, 0, O.CLOEXEC | O.NONBLOCK), 'eventfd');
}
