// Generated from shim/task/proto/task.proto by `npm run proto`. Do not edit.
import { field, map, message, repeated, type MessageType } from '../../../agent/protocol/message.ts';
import { method, service } from '../../../agent/protocol/service.ts';
import { Mount } from './types.ts';
import { Any, Empty, Timestamp } from './google.ts';
import { ProcessInfo } from './process.ts';

export interface CreateTaskRequest {
  readonly id: string;
  readonly bundle: string;
  readonly rootfs: readonly Mount[];
  readonly terminal: boolean;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly checkpoint: string;
  readonly parentCheckpoint: string;
  readonly options: Any | undefined;
}

export const CreateTaskRequest: MessageType<CreateTaskRequest> = message('containerd.task.v2.CreateTaskRequest', () => [
  field(1, 'id', 'string'),
  field(2, 'bundle', 'string'),
  repeated(3, 'rootfs', Mount),
  field(4, 'terminal', 'bool'),
  field(5, 'stdin', 'string'),
  field(6, 'stdout', 'string'),
  field(7, 'stderr', 'string'),
  field(8, 'checkpoint', 'string'),
  field(9, 'parentCheckpoint', 'string'),
  field(10, 'options', Any),
]);

export interface CreateTaskResponse {
  readonly pid: number;
}

export const CreateTaskResponse: MessageType<CreateTaskResponse> = message('containerd.task.v2.CreateTaskResponse', () => [
  field(1, 'pid', 'uint32'),
]);

export interface DeleteRequest {
  readonly id: string;
  readonly execId: string;
}

export const DeleteRequest: MessageType<DeleteRequest> = message('containerd.task.v2.DeleteRequest', () => [
  field(1, 'id', 'string'),
  field(2, 'execId', 'string'),
]);

export interface DeleteResponse {
  readonly pid: number;
  readonly exitStatus: number;
  readonly exitedAt: Timestamp | undefined;
}

export const DeleteResponse: MessageType<DeleteResponse> = message('containerd.task.v2.DeleteResponse', () => [
  field(1, 'pid', 'uint32'),
  field(2, 'exitStatus', 'uint32'),
  field(3, 'exitedAt', Timestamp),
]);

export interface ExecProcessRequest {
  readonly id: string;
  readonly execId: string;
  readonly terminal: boolean;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly spec: Any | undefined;
}

export const ExecProcessRequest: MessageType<ExecProcessRequest> = message('containerd.task.v2.ExecProcessRequest', () => [
  field(1, 'id', 'string'),
  field(2, 'execId', 'string'),
  field(3, 'terminal', 'bool'),
  field(4, 'stdin', 'string'),
  field(5, 'stdout', 'string'),
  field(6, 'stderr', 'string'),
  field(7, 'spec', Any),
]);

export interface ResizePtyRequest {
  readonly id: string;
  readonly execId: string;
  readonly width: number;
  readonly height: number;
}

export const ResizePtyRequest: MessageType<ResizePtyRequest> = message('containerd.task.v2.ResizePtyRequest', () => [
  field(1, 'id', 'string'),
  field(2, 'execId', 'string'),
  field(3, 'width', 'uint32'),
  field(4, 'height', 'uint32'),
]);

export interface StateRequest {
  readonly id: string;
  readonly execId: string;
}

export const StateRequest: MessageType<StateRequest> = message('containerd.task.v2.StateRequest', () => [
  field(1, 'id', 'string'),
  field(2, 'execId', 'string'),
]);

export interface StateResponse {
  readonly id: string;
  readonly bundle: string;
  readonly pid: number;
  readonly status: number;
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
  readonly exitStatus: number;
  readonly exitedAt: Timestamp | undefined;
  readonly execId: string;
}

export const StateResponse: MessageType<StateResponse> = message('containerd.task.v2.StateResponse', () => [
  field(1, 'id', 'string'),
  field(2, 'bundle', 'string'),
  field(3, 'pid', 'uint32'),
  field(4, 'status', 'int32'),
  field(5, 'stdin', 'string'),
  field(6, 'stdout', 'string'),
  field(7, 'stderr', 'string'),
  field(8, 'terminal', 'bool'),
  field(9, 'exitStatus', 'uint32'),
  field(10, 'exitedAt', Timestamp),
  field(11, 'execId', 'string'),
]);

export interface KillRequest {
  readonly id: string;
  readonly execId: string;
  readonly signal: number;
  readonly all: boolean;
}

export const KillRequest: MessageType<KillRequest> = message('containerd.task.v2.KillRequest', () => [
  field(1, 'id', 'string'),
  field(2, 'execId', 'string'),
  field(3, 'signal', 'uint32'),
  field(4, 'all', 'bool'),
]);

export interface CloseIORequest {
  readonly id: string;
  readonly execId: string;
  readonly stdin: boolean;
}

export const CloseIORequest: MessageType<CloseIORequest> = message('containerd.task.v2.CloseIORequest', () => [
  field(1, 'id', 'string'),
  field(2, 'execId', 'string'),
  field(3, 'stdin', 'bool'),
]);

export interface PidsRequest {
  readonly id: string;
}

export const PidsRequest: MessageType<PidsRequest> = message('containerd.task.v2.PidsRequest', () => [
  field(1, 'id', 'string'),
]);

export interface PidsResponse {
  readonly processes: readonly ProcessInfo[];
}

export const PidsResponse: MessageType<PidsResponse> = message('containerd.task.v2.PidsResponse', () => [
  repeated(1, 'processes', ProcessInfo),
]);

export interface CheckpointTaskRequest {
  readonly id: string;
  readonly path: string;
  readonly options: Any | undefined;
}

export const CheckpointTaskRequest: MessageType<CheckpointTaskRequest> = message('containerd.task.v2.CheckpointTaskRequest', () => [
  field(1, 'id', 'string'),
  field(2, 'path', 'string'),
  field(3, 'options', Any),
]);

export interface UpdateTaskRequest {
  readonly id: string;
  readonly resources: Any | undefined;
  readonly annotations: ReadonlyMap<string, string>;
}

export const UpdateTaskRequest: MessageType<UpdateTaskRequest> = message('containerd.task.v2.UpdateTaskRequest', () => [
  field(1, 'id', 'string'),
  field(2, 'resources', Any),
  map(3, 'annotations', 'string', 'string'),
]);

export interface StartRequest {
  readonly id: string;
  readonly execId: string;
}

export const StartRequest: MessageType<StartRequest> = message('containerd.task.v2.StartRequest', () => [
  field(1, 'id', 'string'),
  field(2, 'execId', 'string'),
]);

export interface StartResponse {
  readonly pid: number;
}

export const StartResponse: MessageType<StartResponse> = message('containerd.task.v2.StartResponse', () => [
  field(1, 'pid', 'uint32'),
]);

export interface WaitRequest {
  readonly id: string;
  readonly execId: string;
}

export const WaitRequest: MessageType<WaitRequest> = message('containerd.task.v2.WaitRequest', () => [
  field(1, 'id', 'string'),
  field(2, 'execId', 'string'),
]);

export interface WaitResponse {
  readonly exitStatus: number;
  readonly exitedAt: Timestamp | undefined;
}

export const WaitResponse: MessageType<WaitResponse> = message('containerd.task.v2.WaitResponse', () => [
  field(1, 'exitStatus', 'uint32'),
  field(2, 'exitedAt', Timestamp),
]);

export interface StatsRequest {
  readonly id: string;
}

export const StatsRequest: MessageType<StatsRequest> = message('containerd.task.v2.StatsRequest', () => [
  field(1, 'id', 'string'),
]);

export interface StatsResponse {
  readonly stats: Any | undefined;
}

export const StatsResponse: MessageType<StatsResponse> = message('containerd.task.v2.StatsResponse', () => [
  field(1, 'stats', Any),
]);

export interface ConnectRequest {
  readonly id: string;
}

export const ConnectRequest: MessageType<ConnectRequest> = message('containerd.task.v2.ConnectRequest', () => [
  field(1, 'id', 'string'),
]);

export interface ConnectResponse {
  readonly shimPid: number;
  readonly taskPid: number;
  readonly version: string;
}

export const ConnectResponse: MessageType<ConnectResponse> = message('containerd.task.v2.ConnectResponse', () => [
  field(1, 'shimPid', 'uint32'),
  field(2, 'taskPid', 'uint32'),
  field(3, 'version', 'string'),
]);

export interface ShutdownRequest {
  readonly id: string;
  readonly now: boolean;
}

export const ShutdownRequest: MessageType<ShutdownRequest> = message('containerd.task.v2.ShutdownRequest', () => [
  field(1, 'id', 'string'),
  field(2, 'now', 'bool'),
]);

export interface PauseRequest {
  readonly id: string;
}

export const PauseRequest: MessageType<PauseRequest> = message('containerd.task.v2.PauseRequest', () => [
  field(1, 'id', 'string'),
]);

export interface ResumeRequest {
  readonly id: string;
}

export const ResumeRequest: MessageType<ResumeRequest> = message('containerd.task.v2.ResumeRequest', () => [
  field(1, 'id', 'string'),
]);

export const Task = service('containerd.task.v2.Task', {
  state: method('State', StateRequest, StateResponse),
  create: method('Create', CreateTaskRequest, CreateTaskResponse),
  start: method('Start', StartRequest, StartResponse),
  delete: method('Delete', DeleteRequest, DeleteResponse),
  pids: method('Pids', PidsRequest, PidsResponse),
  pause: method('Pause', PauseRequest, Empty),
  resume: method('Resume', ResumeRequest, Empty),
  checkpoint: method('Checkpoint', CheckpointTaskRequest, Empty),
  kill: method('Kill', KillRequest, Empty),
  exec: method('Exec', ExecProcessRequest, Empty),
  resizePty: method('ResizePty', ResizePtyRequest, Empty),
  closeIO: method('CloseIO', CloseIORequest, Empty),
  update: method('Update', UpdateTaskRequest, Empty),
  wait: method('Wait', WaitRequest, WaitResponse),
  stats: method('Stats', StatsRequest, StatsResponse),
  connect: method('Connect', ConnectRequest, ConnectResponse),
  shutdown: method('Shutdown', ShutdownRequest, Empty),
});
