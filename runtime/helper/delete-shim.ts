/**
 * `delete` of the shim: cleans up what a dead one left, and answers with how the container ended. It runs after every
 * end of a shim, also an orderly one, and may run twice: what is gone is fine. A container that shares the machine of
 * another never ends that machine.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { close, exists, readFile } from '../../agent/sys/calls.ts';
import { check } from '../../agent/sys/errors.ts';
import { AT, CLOCK, MNT, O, UMOUNT } from '../../agent/sys/linux.ts';
import { clockNs } from '../../agent/sys/processes.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import { removeDeadCgroups } from './dead-cgroups.ts';
import { groupListPath } from './group-list.ts';
import { endProcess, isAlive, type ProcessRef, parseStartTicks } from './process-ref.ts';
import { releaseNetwork } from './release-network.ts';
import { removeTree } from './remove-tree.ts';
import {
  isServed,
  machineSockets,
  removeSocket,
  SHIM_FILE,
  type ShimTarget,
  shimSocketPath,
  withSocketLock,
} from './start-shim.ts';

/** containerd gives all of `delete` 5 s: no wait goes on for longer than this after the start. */
const ALL_WAITS_MS = 4_400;
/** A shim that was asked to shut down gets this; one whose hooks take longer is killed. */
const SHIM_GRACE_MS = 2_000;
/** For the ends of all processes that are killed, together. */
const KILL_MS = 1_500;
const SOCKET_LOCK_MS = 250;
const GROUP_STEP_MS = 25;
const KILLED_STATUS = 137;
const MAX_RECORD_BYTES = 256 * 1024;
const MAX_CONFIG_BYTES = 16 << 20;
/** Stacked mounts of one rootfs; more are not ours. */
const MAX_MOUNTS = 64;
const NS_PER_S = 1_000_000_000n;
const NS_PER_MS = 1_000_000n;

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
  const endNs = clockNs(sys, CLOCK.MONOTONIC) + BigInt(ALL_WAITS_MS) * NS_PER_MS;
  const directory = `${target.runRoot}/${target.namespace}/${target.id}`;
  const record = readRecord(sys, directory);
  if (isLaterShim(sys, record)) return encodeDeleteResponse({}, clockNs(sys, CLOCK.REALTIME));
  const ownMachine = record.sandbox === undefined || record.sandbox === target.id;
  if (ownMachine) {
    endMachine(sys, record);
    releaseNetworkOf(sys, bundle);
  }
  if (bundle.startsWith('/')) unmountRootfs(sys, bundle);
  if (ownMachine) {
    // A new shim of the same id may be there by now, since containerd deletes late.
    if (removeSockets(sys, target) === 'served' || isLaterShim(sys, readRecord(sys, directory))) {
      return encodeDeleteResponse(record, clockNs(sys, CLOCK.REALTIME));
    }
    removeCgroups(sys, target.runRoot, record, endNs);
  }
  if (exists(sys, directory)) removeTree(sys, directory);
  return encodeDeleteResponse(record, clockNs(sys, CLOCK.REALTIME));
}

/**
 * Says what became of the sockets. Whoever holds the lock may stand still, which must cost neither the answer nor the
 * rest: dead sockets are removed by the next start of this id, and by `gc`.
 */
function removeSockets(sys: Sys, target: ShimTarget): 'served' | 'removed' | 'locked' {
  const socket = shimSocketPath(target, target.id);
  try {
    return withSocketLock(sys, target.runRoot, SOCKET_LOCK_MS, () => {
      if (isServed(sys, socket)) return 'served';
      removeSocket(sys, socket);
      removeTree(sys, machineSockets(socket));
      return 'removed';
    });
  } catch (error) {
    if (error instanceof TskataError && error.code === Code.DeadlineExceeded) return 'locked';
    throw error;
  }
}

/** The record of the container; before its first Create all that is known is the shim that `start` made for it. */
function readRecord(sys: Sys, directory: string): LeftRecord {
  const record = readObject(sys, `${directory}/state.json`);
  return record ?? { shim: readObject(sys, `${directory}/${SHIM_FILE}`) };
}

/** What cannot be read says nothing that could be cleaned up by it. */
function readObject(sys: Sys, path: string): LeftRecord | undefined {
  try {
    const value: unknown = JSON.parse(readFile(sys, path, MAX_RECORD_BYTES));
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Whether the shim was started after us, for a container that got the same id again: containerd runs `delete` after it
 * has answered its client, who may have been quick.
 */
function isLaterShim(sys: Sys, record: LeftRecord): boolean {
  const shim = readRef(record.shim);
  const own = parseStartTicks(readFile(sys, '/proc/self/stat', 4096));
  return shim !== undefined && own !== undefined && shim.startTicks > own && isAlive(sys, shim);
}

function endMachine(sys: Sys, record: LeftRecord): void {
  let killMs = KILL_MS;
  for (const [name, grace] of [
    ['shim', SHIM_GRACE_MS],
    ['keeper', 0],
    ['qemu', 0],
  ] as const) {
    const ref = readRef(record[name]);
    if (ref === undefined || !isAlive(sys, ref)) continue;
    const before = clockNs(sys, CLOCK.MONOTONIC);
    if (!endProcess(sys, ref, grace, killMs)) {
      throw new TskataError(Code.DeadlineExceeded, `delete: process ${ref.pid} (${name}) does not end`);
    }
    const tookMs = Number((clockNs(sys, CLOCK.MONOTONIC) - before) / NS_PER_MS);
    killMs -= Math.min(killMs, Math.max(0, tookMs - grace));
  }
}

/** A group can be removed once every process in it has been taken down, which a busy host does a while after its end. */
function removeCgroups(sys: Sys, runRoot: string, record: LeftRecord, endNs: bigint): void {
  const keeper = readRef(record.keeper);
  for (;;) {
    removeDeadCgroups(sys, runRoot);
    if (keeper === undefined || !exists(sys, groupListPath(runRoot, keeper))) return;
    if (clockNs(sys, CLOCK.MONOTONIC) >= endNs) return;
    sys.call(SYS.poll, new Uint8Array(8), 0, GROUP_STEP_MS);
  }
}

function readRef(value: unknown): ProcessRef | undefined {
  const { pid, startTicks: ticks } = (value ?? {}) as { pid?: unknown; startTicks?: unknown };
  const valid = Number.isSafeInteger(pid) && Number.isSafeInteger(ticks) && (pid as number) > 1;
  return valid ? { pid: pid as number, startTicks: ticks as number } : undefined;
}

/** What is carried of the network namespace in the bundle's configuration. One that is no namespace, or gone, is fine. */
function releaseNetworkOf(sys: Sys, bundle: string): void {
  try {
    const config: unknown = JSON.parse(readFile(sys, `${bundle}/config.json`, MAX_CONFIG_BYTES));
    const { linux } = (config ?? {}) as { linux?: { namespaces?: readonly { type?: unknown; path?: unknown }[] } };
    const path = linux?.namespaces?.find(({ type }) => type === 'network')?.path;
    if (typeof path === 'string' && path.startsWith('/')) releaseNetwork(sys, path);
  } catch {
    // A configuration that cannot be read was never started from.
  }
}

/**
 * Whatever is mounted on the bundle's rootfs in this namespace: nothing of ours, since a keeper mounts in its own. The
 * bundle is the one that is open, its rootfs one step from there that follows no link: whoever can put a link into the
 * way has nothing else unmounted.
 */
function unmountRootfs(sys: Sys, bundle: string): void {
  const fd = sys.call(SYS.openat, AT.FDCWD, bundle, O.PATH | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC, 0);
  if (fd < 0) return;
  check(sys.call(SYS.fchdir, fd), 'change to', bundle);
  for (let count = 0; count < MAX_MOUNTS; count++) {
    if (sys.call(SYS.umount2, 'rootfs', MNT.DETACH | UMOUNT.NOFOLLOW) < 0) break;
  }
  sys.call(SYS.chdir, '/');
  close(sys, fd);
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
