// Generated from shim/task/proto/events.proto by `npm run proto`. Do not edit.
import { field, message, repeated, type MessageType } from '../../../agent/protocol/message.ts';
import { Mount } from './types.ts';
import { Timestamp } from './google.ts';

export interface TaskCreate {
  readonly containerId: string;
  readonly bundle: string;
  readonly rootfs: readonly Mount[];
  readonly io: TaskIO | undefined;
  readonly checkpoint: string;
  readonly pid: number;
}

export const TaskCreate: MessageType<TaskCreate> = message('containerd.events.TaskCreate', () => [
  field(1, 'containerId', 'string'),
  field(2, 'bundle', 'string'),
  repeated(3, 'rootfs', Mount),
  field(4, 'io', TaskIO),
  field(5, 'checkpoint', 'string'),
  field(6, 'pid', 'uint32'),
]);

export interface TaskIO {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

export const TaskIO: MessageType<TaskIO> = message('containerd.events.TaskIO', () => [
  field(1, 'stdin', 'string'),
  field(2, 'stdout', 'string'),
  field(3, 'stderr', 'string'),
  field(4, 'terminal', 'bool'),
]);

export interface TaskStart {
  readonly containerId: string;
  readonly pid: number;
}

export const TaskStart: MessageType<TaskStart> = message('containerd.events.TaskStart', () => [
  field(1, 'containerId', 'string'),
  field(2, 'pid', 'uint32'),
]);

export interface TaskDelete {
  readonly containerId: string;
  readonly pid: number;
  readonly exitStatus: number;
  readonly exitedAt: Timestamp | undefined;
  /** The exec; empty for the init process. */
  readonly id: string;
}

export const TaskDelete: MessageType<TaskDelete> = message('containerd.events.TaskDelete', () => [
  field(1, 'containerId', 'string'),
  field(2, 'pid', 'uint32'),
  field(3, 'exitStatus', 'uint32'),
  field(4, 'exitedAt', Timestamp),
  field(5, 'id', 'string'),
]);

export interface TaskExit {
  readonly containerId: string;
  /** The exec, or the container's id for its init process. */
  readonly id: string;
  readonly pid: number;
  readonly exitStatus: number;
  readonly exitedAt: Timestamp | undefined;
}

export const TaskExit: MessageType<TaskExit> = message('containerd.events.TaskExit', () => [
  field(1, 'containerId', 'string'),
  field(2, 'id', 'string'),
  field(3, 'pid', 'uint32'),
  field(4, 'exitStatus', 'uint32'),
  field(5, 'exitedAt', Timestamp),
]);

export interface TaskOOM {
  readonly containerId: string;
}

export const TaskOOM: MessageType<TaskOOM> = message('containerd.events.TaskOOM', () => [
  field(1, 'containerId', 'string'),
]);

export interface TaskExecAdded {
  readonly containerId: string;
  readonly execId: string;
}

export const TaskExecAdded: MessageType<TaskExecAdded> = message('containerd.events.TaskExecAdded', () => [
  field(1, 'containerId', 'string'),
  field(2, 'execId', 'string'),
]);

export interface TaskExecStarted {
  readonly containerId: string;
  readonly execId: string;
  readonly pid: number;
}

export const TaskExecStarted: MessageType<TaskExecStarted> = message('containerd.events.TaskExecStarted', () => [
  field(1, 'containerId', 'string'),
  field(2, 'execId', 'string'),
  field(3, 'pid', 'uint32'),
]);

export interface TaskPaused {
  readonly containerId: string;
}

export const TaskPaused: MessageType<TaskPaused> = message('containerd.events.TaskPaused', () => [
  field(1, 'containerId', 'string'),
]);

export interface TaskResumed {
  readonly containerId: string;
}

export const TaskResumed: MessageType<TaskResumed> = message('containerd.events.TaskResumed', () => [
  field(1, 'containerId', 'string'),
]);

export interface TaskCheckpointed {
  readonly containerId: string;
  readonly checkpoint: string;
}

export const TaskCheckpointed: MessageType<TaskCheckpointed> = message('containerd.events.TaskCheckpointed', () => [
  field(1, 'containerId', 'string'),
  field(2, 'checkpoint', 'string'),
]);
