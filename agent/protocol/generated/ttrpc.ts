// Generated from agent/protocol/proto/ttrpc.proto by `npm run proto`. Do not edit.
import { field, message, repeated, type MessageType } from '../message.ts';

export interface Request {
  readonly service: string;
  readonly method: string;
  readonly payload: Uint8Array;
  /** What is left of the caller's time; 0: no deadline. */
  readonly timeoutNano: bigint;
  readonly metadata: readonly KeyValue[];
}

export const Request: MessageType<Request> = message('ttrpc.Request', () => [
  field(1, 'service', 'string'),
  field(2, 'method', 'string'),
  field(3, 'payload', 'bytes'),
  field(4, 'timeoutNano', 'int64'),
  repeated(5, 'metadata', KeyValue),
]);

export interface Response {
  readonly status: Status | undefined;
  readonly payload: Uint8Array;
}

export const Response: MessageType<Response> = message('ttrpc.Response', () => [
  field(1, 'status', Status),
  field(2, 'payload', 'bytes'),
]);

export interface KeyValue {
  readonly key: string;
  readonly value: string;
}

export const KeyValue: MessageType<KeyValue> = message('ttrpc.KeyValue', () => [
  field(1, 'key', 'string'),
  field(2, 'value', 'string'),
]);

/** google.rpc.Status; its details (field 3) are neither sent nor read. */
export interface Status {
  readonly code: number;
  readonly message: string;
}

export const Status: MessageType<Status> = message('ttrpc.Status', () => [
  field(1, 'code', 'int32'),
  field(2, 'message', 'string'),
]);
