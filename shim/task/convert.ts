/** Owns the small conversions between the runtime's values and containerd's messages. */
import type { Init, MessageType } from '../../agent/protocol/message.ts';
import type { Container } from '../../runtime/sandbox/container.ts';
import type { GuestProcess } from '../../runtime/sandbox/process.ts';
import type { StdioPaths } from '../../runtime/sandbox/process-io.ts';
import type { Any, Timestamp } from './generated/google.ts';
import { Status } from './generated/process.ts';

const MS_PER_SECOND = 1000;
const NS_PER_MS = 1_000_000;

export function timestamp(date: Date): Init<Timestamp> {
  const ms = date.getTime();
  const seconds = Math.floor(ms / MS_PER_SECOND);
  return { seconds: BigInt(seconds), nanos: (ms - seconds * MS_PER_SECOND) * NS_PER_MS };
}

/** Packs a message as containerd's typeurl does: the bare name, no host in front. */
export function any<T>(type: MessageType<T>, value: Init<T>): Init<Any> {
  return { typeUrl: type.typeName, value: type.encode(value) };
}

/** containerd's number for a process's status. */
export function statusNumber(container: Container, process: GuestProcess): number {
  switch (process.status.name) {
    case 'created':
    case 'starting':
      return Status.CREATED;
    case 'running':
      return container.paused ? Status.PAUSED : Status.RUNNING;
    case 'stopped':
      return Status.STOPPED;
  }
}

/** The client's names of the streams. */
export function stdioPaths(request: { stdin: string; stdout: string; stderr: string; terminal: boolean }): StdioPaths {
  const { stdin, stdout, stderr, terminal } = request;
  return { stdin, stdout, stderr, terminal };
}
