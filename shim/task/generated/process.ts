// Generated from shim/task/proto/process.proto by `npm run proto`. Do not edit.
import { field, message, type MessageType } from '../../../agent/protocol/message.ts';
import { Any } from './google.ts';

export const Status = {
  UNKNOWN: 0,
  CREATED: 1,
  RUNNING: 2,
  STOPPED: 3,
  PAUSED: 4,
  PAUSING: 5,
} as const;

export interface ProcessInfo {
  readonly pid: number;
  /** Varies by platform; here a ProcessDetails with the exec id. */
  readonly info: Any | undefined;
}

export const ProcessInfo: MessageType<ProcessInfo> = message('containerd.v1.types.ProcessInfo', () => [
  field(1, 'pid', 'uint32'),
  field(2, 'info', Any),
]);
