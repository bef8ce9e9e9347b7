// Generated from shim/task/proto/types.proto by `npm run proto`. Do not edit.
import { field, message, repeated, type MessageType } from '../../../agent/protocol/message.ts';
import { Any, Timestamp } from './google.ts';

export interface Mount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
}

export const Mount: MessageType<Mount> = message('containerd.types.Mount', () => [
  field(1, 'type', 'string'),
  field(2, 'source', 'string'),
  field(3, 'target', 'string'),
  repeated(4, 'options', 'string'),
]);

/** An event on its way to containerd. */
export interface Envelope {
  readonly timestamp: Timestamp | undefined;
  readonly namespace: string;
  readonly topic: string;
  readonly event: Any | undefined;
}

export const Envelope: MessageType<Envelope> = message('containerd.types.Envelope', () => [
  field(1, 'timestamp', Timestamp),
  field(2, 'namespace', 'string'),
  field(3, 'topic', 'string'),
  field(4, 'event', Any),
]);
