/** What the cases of the native test program share. Runs on QuickJS, so no test library. */
import { close } from '../../../../../agent/sys/calls.ts';
import { E } from '../../../../../agent/sys/errno.ts';
import { CLONE, EPOLL, P } from '../../../../../agent/sys/linux.ts';
import { loop, sys } from '../../../../../agent/sys/native.ts';
import type { SlotRef, SpawnPlan, Step } from '../../../../../agent/sys/plan.ts';
import { waitidNoHang } from '../../../../../agent/sys/processes.ts';
import { text, viewOf } from '../../../../../agent/sys/structs.ts';
import type { SpawnedChild } from '../../../../../agent/sys/sys.ts';
import { SYS } from '../../../../../agent/sys/syscalls.ts';

export type Case = (args: readonly string[]) => unknown;

export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

export function equal(actual: unknown, expected: unknown, what: string): void {
  const [a, b] = [show(actual), show(expected)];
  if (a !== b) throw new Error(`${what}: ${a}, expected ${b}`);
}

export function throwsTypeError(action: () => unknown, what: string): void {
  try {
    action();
  } catch (error) {
    assert(error instanceof TypeError, `${what}: threw ${String(error)}`);
    return;
  }
  throw new Error(`${what}: did not throw`);
}

function show(value: unknown): string {
  return JSON.stringify(value, (_key, entry) => (typeof entry === 'bigint' ? `${entry}n` : entry)) ?? 'undefined';
}

/** One packet of a child's status socket. */
export interface Packet {
  readonly kind: number;
  readonly step: number;
  readonly errno: number;
  readonly fd: number;
}

export const slot = (number: number): SlotRef => ({ slot: number });

export function plan(steps: readonly Step[], more: Partial<SpawnPlan> = {}): SpawnPlan {
  return { cloneFlags: 0, slots: {}, ...more, steps };
}

/** /bin/sh -c with these descriptors (slots) as 0, 1, 2. */
export function shell(script: string): Step {
  return {
    op: 'exec',
    path: '/bin/sh',
    argv: ['sh', '-c', script],
    env: ['PATH=/usr/bin:/bin'],
    searchPath: [],
    label: 'exec',
  };
}

export function spawn(wanted: SpawnPlan): SpawnedChild {
  const child = sys.spawn(wanted);
  if (typeof child === 'number') throw new Error(`spawn: errno ${-child}`);
  return child;
}

/** Resolves at the next packet, with undefined at the end of file. */
export function nextPacket(child: SpawnedChild): Promise<Packet | undefined> {
  return new Promise((resolve) => {
    loop.watch(child.statusFd, EPOLL.IN, () => {
      loop.unwatch(child.statusFd);
      const bytes = new Uint8Array(16);
      const length = sys.read(child.statusFd, bytes, 0, 16);
      const view = viewOf(bytes);
      const at = (word: number): number => view.getInt32(word * 4, true);
      resolve(length === 16 ? { kind: at(0), step: at(1), errno: at(2), fd: at(3) } : undefined);
    });
  });
}

/** Resolves with [CLD code, status] when the child has ended; closes its descriptors. */
export function ended(child: SpawnedChild): Promise<[number, number]> {
  return new Promise((resolve) => {
    loop.watch(child.pidfd, EPOLL.IN, () => {
      loop.unwatch(child.pidfd);
      const status = waitidNoHang(sys, P.PIDFD, child.pidfd);
      close(sys, child.pidfd);
      close(sys, child.statusFd);
      resolve(typeof status === 'object' ? [status.code, status.status] : [0, typeof status === 'number' ? status : 0]);
    });
  });
}

/** Runs a plan to its end: packets seen, and how it ended. */
export async function runPlan(wanted: SpawnPlan): Promise<{ packets: Packet[]; end: [number, number] }> {
  const child = spawn(wanted);
  const packets: Packet[] = [];
  for (let packet = await nextPacket(child); packet !== undefined; packet = await nextPacket(child))
    packets.push(packet);
  return { packets, end: await ended(child) };
}

/** Everything that a shell script prints, run with a plan's other parts. `before` are steps ahead of the exec. */
export async function output(
  script: string,
  more: Partial<SpawnPlan> = {},
  before: readonly Step[] = [],
): Promise<string> {
  const ends = new Uint8Array(8);
  sys.call(SYS.pipe2, ends, 0x80000);
  const [reader, writer] = [viewOf(ends).getInt32(0, true), viewOf(ends).getInt32(4, true)];
  const steps: Step[] = [...before, { op: 'stdio', fds: [slot(0), slot(1), slot(1)], label: 'stdio' }, shell(script)];
  const child = spawn(plan(steps, { ...more, slots: { 0: 0, 1: writer, ...more.slots } }));
  close(sys, writer);
  const failed = await nextPacket(child);
  const [, status] = await ended(child);
  const bytes = new Uint8Array(65536);
  let length = 0;
  for (;;) {
    const count = sys.read(reader, bytes, length, bytes.length - length);
    if (count <= 0) break;
    length += count;
  }
  close(sys, reader);
  if (failed !== undefined) throw new Error(`plan failed at step ${failed.step}: errno ${failed.errno}`);
  return `${text(bytes.subarray(0, length)).trim()}${status === 0 ? '' : ` [exit ${status}]`}`;
}

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    loop.timer(ms, resolve);
  });
}

export const NAMESPACES = {
  mnt: CLONE.NEWNS,
  uts: CLONE.NEWUTS,
  ipc: CLONE.NEWIPC,
  net: CLONE.NEWNET,
  pid: CLONE.NEWPID,
  cgroup: CLONE.NEWCGROUP,
  user: CLONE.NEWUSER,
} as const;

export { E, loop, sys };
