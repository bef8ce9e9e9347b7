// Generated from shim/task/proto/google.proto by `npm run proto`. Do not edit.
import { field, message, type MessageType } from '../../../agent/protocol/message.ts';

export interface Any {
  /** containerd: the bare name of the message, without a host in front. */
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

export const Any: MessageType<Any> = message('google.protobuf.Any', () => [
  field(1, 'typeUrl', 'string'),
  field(2, 'value', 'bytes'),
]);

export interface Timestamp {
  readonly seconds: bigint;
  readonly nanos: number;
}

export const Timestamp: MessageType<Timestamp> = message('google.protobuf.Timestamp', () => [
  field(1, 'seconds', 'int64'),
  field(2, 'nanos', 'int32'),
]);

export type Empty = Readonly<Record<never, never>>;

export const Empty: MessageType<Empty> = message('google.protobuf.Empty', () => []);
