/**
 * `delete` of the shim: cleans up what a dead one left, and answers with how the container ended. It runs after every
 * end of a shim, also an orderly one, and may run twice: what is gone is fine. A container that shares the machine of
 * another never ends that machine.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { exists, readFile } from '../../agent/sys/calls.ts';
import { CLOCK, MNT, UMOUNT } from '../../agent/sys/linux.ts';
import { clockNs } from '../../agent/sys/processes.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import { removeDeadCgroups } from './dead-cgroups.ts';
import { endProcess, isAlive, type ProcessRef } from './process-ref.ts';
import { removeTree } from './remove-tree.ts';
import {
  isServed,
  machineSockets,
  removeSocket,
  type ShimTarget,
  shimSocketPath,
  withSocketLock,
} from './start-shim.ts';

/** A shim that was asked to shut down needs this long at most; containerd gives all of `delete` 5 s. */
const SHIM_GRACE_MS = 2_000;
const KILL_MS = 1_000;
const KILLED_STATUS = 137;
const MAX_RECORD_BYTES = 256 * 1024;
/** Stacked mounts of one rootfs; more are not ours. */
const MAX_MOUNTS = 64;
const NS_PER_S = 1_000_000_000n;

/** What is read of a record; anything else in it is the business of others. */
interface LeftRecord {
  readonly sandbox?: unknown;
  readonly shim?: unknown;
  readonly keeper?: unknown;
  readonly qemu?: unknown;
  readonly exit?: { readonly status?: unknown; readonly at?: unknown };
}

/** Cleans up and returns an encoded containerd.task.v2 DeleteResponse. */
export function deleteShim(sys: Sys, target: ShimTarget, bundle: string): Uint8Array {
  const directory = `${target.runRoot}/${target.namespace}/${target.id}`;
  const record = readRecord(sys, `${directory}/state.json`);
  const ownMachine = record.sandbox === undefined || record.sandbox === target.id;
  if (ownMachine) endMachine(sys, record);
  if (bundle.startsWith('/')) unmountAll(sys, `${bundle}/rootfs`);
  if (ownMachine) {
    const socket = shimSocketPath(target, target.id);
    const served = withSocketLock(sys, target.runRoot, () => {
      if (isServed(sys, socket)) return true;
      removeSocket(sys, socket);
      removeTree(sys, machineSockets(socket));
      return false;
    });
    // A new shim of the same id may be there by now: containerd deletes late.
    if (served) return encodeDeleteResponse(record, clockNs(sys, CLOCK.REALTIME));
    removeDeadCgroups(sys);
  }
  if (exists(sys, directory)) removeTree(sys, directory);
  return encodeDeleteResponse(record, clockNs(sys, CLOCK.REALTIME));
}

/** The record, or nothing: one that is missing or broken says nothing that could be cleaned up by it. */
function readRecord(sys: Sys, path: string): LeftRecord {
  try {
    const record: unknown = JSON.parse(readFile(sys, path, MAX_RECORD_BYTES));
    return typeof record === 'object' && record !== null ? record : {};
  } catch {
    return {};
  }
}

function endMachine(sys: Sys, record: LeftRecord): void {
  for (const [name, grace] of [
    ['shim', SHIM_GRACE_MS],
    ['keeper', 0],
    ['qemu', 0],
  ] as const) {
    const ref = readRef(record[name]);
    if (ref !== undefined && isAlive(sys, ref) && !endProcess(sys, ref, grace, KILL_MS)) {
      throw new TskataError(Code.DeadlineExceeded, `delete: process ${ref.pid} (${name}) does not end`);
    }
  }
}

function readRef(value: unknown): ProcessRef | undefined {
  const { pid, startTicks: ticks } = (value ?? {}) as { pid?: unknown; startTicks?: unknown };
  const valid = Number.isSafeInteger(pid) && Number.isSafeInteger(ticks) && (pid as number) > 1;
  return valid ? { pid: pid as number, startTicks: ticks as number } : undefined;
}

/** Whatever is mounted on the rootfs in this namespace. The last step of the path is never followed. */
function unmountAll(sys: Sys, path: string): void {
  for (let count = 0; count < MAX_MOUNTS; count++) {
    if (sys.call(SYS.umount2, path, MNT.DETACH | UMOUNT.NOFOLLOW) < 0) return;
  }
}

/** DeleteResponse {pid = 1, exit_status = 2, exited_at = 3 {seconds = 1, nanos = 2}}; a pid of 0 is not written. */
function encodeDeleteResponse(record: LeftRecord, nowNs: bigint): Uint8Array {
  const recorded = record.exit?.status;
  const status = typeof recorded === 'number' && Number.isInteger(recorded) && recorded >= 0 ? recorded : KILLED_STATUS;
  const atMs = typeof record.exit?.at === 'string' ? Date.parse(record.exit.at) : Number.NaN;
  const atNs = Number.isNaN(atMs) ? nowNs : BigInt(atMs) * 1_000_000n;
  const time = [0x08, ...varint(atNs / NS_PER_S), 0x10, ...varint(atNs % NS_PER_S)];
  return Uint8Array.from([0x10, ...varint(BigInt(status)), 0x1a, time.length, ...time]);
}

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  let left = value;
  for (; left > 127n; left >>= 7n) bytes.push(Number(left & 127n) | 128);
  return [...bytes, Number(left)];
}
