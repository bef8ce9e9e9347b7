// Generated from agent/protocol/proto/helper.proto by `npm run proto`. Do not edit.
import { field, message, repeated, type MessageType } from '../message.ts';
import { method, service } from '../service.ts';

export type Empty = Readonly<Record<never, never>>;

export const Empty: MessageType<Empty> = message('tskata.helper.v1.Empty', () => []);

export interface SpawnRequest {
  /** Unique in the helper: "qemu", "virtiofsd-0", "passt". */
  readonly name: string;
  readonly executable: string;
  readonly argv: readonly string[];
  readonly env: readonly string[];
  /** Descriptors of the child, from 3 on, in this order. */
  readonly descriptors: readonly Descriptor[];
  readonly jail: Jail | undefined;
  /** Inherited descriptor (by name) that becomes 1 and 2; empty: the helper's own log. */
  readonly log: string;
}

export const SpawnRequest: MessageType<SpawnRequest> = message('tskata.helper.v1.SpawnRequest', () => [
  field(1, 'name', 'string'),
  field(2, 'executable', 'string'),
  repeated(3, 'argv', 'string'),
  repeated(4, 'env', 'string'),
  repeated(5, 'descriptors', Descriptor),
  field(6, 'jail', Jail),
  field(7, 'log', 'string'),
]);

export interface Descriptor {
  /** A descriptor that the helper inherited from the shim, by name. */
  readonly inherited: string | undefined;
  readonly file: OpenFile | undefined;
  /** One end of a socket pair, by name; the other end is named in another Spawn. */
  readonly pair: string | undefined;
  /** A listening unix socket bound at this path of the host. */
  readonly listen: string | undefined;
  /** A unix socket connected to this path of the host. */
  readonly connect: string | undefined;
  /** A tap of the sandbox's network namespace, by name. */
  readonly tap: string | undefined;
  /** A private listening unix socket on which one connection waits already: that of the `pair` of the same name. */
  readonly accept: string | undefined;
}

export const Descriptor: MessageType<Descriptor> = message('tskata.helper.v1.Descriptor', () => [
  field(1, 'inherited', 'string', 'source'),
  field(2, 'file', OpenFile, 'source'),
  field(3, 'pair', 'string', 'source'),
  field(4, 'listen', 'string', 'source'),
  field(5, 'connect', 'string', 'source'),
  field(6, 'tap', 'string', 'source'),
  field(7, 'accept', 'string', 'source'),
]);

export interface OpenFile {
  readonly path: string;
  readonly writable: boolean;
}

export const OpenFile: MessageType<OpenFile> = message('tskata.helper.v1.OpenFile', () => [
  field(1, 'path', 'string'),
  field(2, 'writable', 'bool'),
]);

export interface Jail {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  /** Host directory that becomes "/"; made of a tmpfs of the helper's when empty. */
  readonly binds: readonly Bind[];
  readonly newPidNamespace: boolean;
  /** "none": an empty namespace of its own; "sandbox": the one of OpenNetwork; "host". */
  readonly network: string;
  readonly keepCapabilities: readonly string[];
  readonly rlimits: readonly Rlimit[];
  readonly noNewPrivileges: boolean;
  /** Ranges that an eBPF program on the child's cgroup refuses to connect or send to, CIDR form. */
  readonly deniedDestinations: readonly string[];
  /** A proc file system (processes only) at /proc. */
  readonly proc: boolean;
  /** Empty directories of the root. */
  readonly directories: readonly string[];
  /** Ranges that stay reachable although a denied range holds them. */
  readonly allowedDestinations: readonly string[];
  /** Refuses whatever the host would deliver to itself, by any of its addresses, present or future. */
  readonly denyHost: boolean;
  /** Addresses whose port 53 stays reachable although denied otherwise. */
  readonly allowedResolvers: readonly string[];
}

export const Jail: MessageType<Jail> = message('tskata.helper.v1.Jail', () => [
  field(1, 'uid', 'uint32'),
  field(2, 'gid', 'uint32'),
  repeated(3, 'additionalGids', 'uint32'),
  repeated(4, 'binds', Bind),
  field(5, 'newPidNamespace', 'bool'),
  field(6, 'network', 'string'),
  repeated(7, 'keepCapabilities', 'string'),
  repeated(8, 'rlimits', Rlimit),
  field(9, 'noNewPrivileges', 'bool'),
  repeated(10, 'deniedDestinations', 'string'),
  field(11, 'proc', 'bool'),
  repeated(12, 'directories', 'string'),
  repeated(13, 'allowedDestinations', 'string'),
  field(14, 'denyHost', 'bool'),
  repeated(15, 'allowedResolvers', 'string'),
]);

export interface Bind {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  /** A device node of the same number, owned by the jail's uid, is made instead of a bind. */
  readonly device: boolean;
  /** The mounts below `source` come along, also those that are made in the helper's namespace later. */
  readonly recursive: boolean;
  /** Programs may be executed from it; libraries need it too. */
  readonly executable: boolean;
}

export const Bind: MessageType<Bind> = message('tskata.helper.v1.Bind', () => [
  field(1, 'source', 'string'),
  field(2, 'target', 'string'),
  field(3, 'readOnly', 'bool'),
  field(4, 'device', 'bool'),
  field(5, 'recursive', 'bool'),
  field(6, 'executable', 'bool'),
]);

export interface Rlimit {
  readonly type: string;
  readonly soft: bigint;
  readonly hard: bigint;
}

export const Rlimit: MessageType<Rlimit> = message('tskata.helper.v1.Rlimit', () => [
  field(1, 'type', 'string'),
  field(2, 'soft', 'uint64'),
  field(3, 'hard', 'uint64'),
]);

export interface SpawnResponse {
  /** In the host's PID namespace. */
  readonly pid: number;
}

export const SpawnResponse: MessageType<SpawnResponse> = message('tskata.helper.v1.SpawnResponse', () => [
  field(1, 'pid', 'uint32'),
]);

export interface SignalRequest {
  readonly name: string;
  readonly signal: number;
}

export const SignalRequest: MessageType<SignalRequest> = message('tskata.helper.v1.SignalRequest', () => [
  field(1, 'name', 'string'),
  field(2, 'signal', 'uint32'),
]);

export interface WaitRequest {
  readonly name: string;
}

export const WaitRequest: MessageType<WaitRequest> = message('tskata.helper.v1.WaitRequest', () => [
  field(1, 'name', 'string'),
]);

export interface WaitResponse {
  /** Exit code, or 128 + n for signal n. */
  readonly exitStatus: number;
}

export const WaitResponse: MessageType<WaitResponse> = message('tskata.helper.v1.WaitResponse', () => [
  field(1, 'exitStatus', 'uint32'),
]);

export interface AddDescriptorRequest {
  readonly fdset: number;
  readonly file: OpenFile | undefined;
}

export const AddDescriptorRequest: MessageType<AddDescriptorRequest> = message('tskata.helper.v1.AddDescriptorRequest', () => [
  field(1, 'fdset', 'uint32'),
  field(2, 'file', OpenFile),
]);

export interface MountRequest {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
}

export const MountRequest: MessageType<MountRequest> = message('tskata.helper.v1.MountRequest', () => [
  field(1, 'type', 'string'),
  field(2, 'source', 'string'),
  field(3, 'target', 'string'),
  repeated(4, 'options', 'string'),
]);

export interface UnmountRequest {
  readonly target: string;
}

export const UnmountRequest: MessageType<UnmountRequest> = message('tskata.helper.v1.UnmountRequest', () => [
  field(1, 'target', 'string'),
]);

export interface OpenNetworkRequest {
  /** Empty: a new one. */
  readonly path: string;
}

export const OpenNetworkRequest: MessageType<OpenNetworkRequest> = message('tskata.helper.v1.OpenNetworkRequest', () => [
  field(1, 'path', 'string'),
]);

export interface OpenNetworkResponse {
  /** Path under /proc of the helper by which others can enter it. */
  readonly path: string;
}

export const OpenNetworkResponse: MessageType<OpenNetworkResponse> = message('tskata.helper.v1.OpenNetworkResponse', () => [
  field(1, 'path', 'string'),
]);

export interface CopySparseRequest {
  readonly source: string;
  readonly target: string;
}

export const CopySparseRequest: MessageType<CopySparseRequest> = message('tskata.helper.v1.CopySparseRequest', () => [
  field(1, 'source', 'string'),
  field(2, 'target', 'string'),
]);

export interface ClaimUserRequest {
  readonly first: number;
  readonly count: number;
}

export const ClaimUserRequest: MessageType<ClaimUserRequest> = message('tskata.helper.v1.ClaimUserRequest', () => [
  field(1, 'first', 'uint32'),
  field(2, 'count', 'uint32'),
]);

export interface ClaimUserResponse {
  readonly uid: number;
}

export const ClaimUserResponse: MessageType<ClaimUserResponse> = message('tskata.helper.v1.ClaimUserResponse', () => [
  field(1, 'uid', 'uint32'),
]);

export const Helper = service('tskata.helper.v1.Helper', {
  /** Starts a confined program as a child of the helper. */
  spawn: method('Spawn', SpawnRequest, SpawnResponse),
  signal: method('Signal', SignalRequest, Empty),
  /** Answers when the program has ended. */
  wait: method('Wait', WaitRequest, WaitResponse),
  /** Opens a file and hands its descriptor to QEMU over the second QMP monitor, as /dev/fdset/N. */
  addDescriptor: method('AddDescriptor', AddDescriptorRequest, Empty),
  /** Mounts and unmounts in the helper's mount namespace; undone by the helper's end. */
  mount: method('Mount', MountRequest, Empty),
  unmount: method('Unmount', UnmountRequest, Empty),
  /** A network namespace that lives as long as the helper, or the one at a path. */
  openNetwork: method('OpenNetwork', OpenNetworkRequest, OpenNetworkResponse),
  /** Copies a sparse file, holes kept. */
  copySparse: method('CopySparse', CopySparseRequest, Empty),
  /** Takes a free user id of a range for as long as the helper lives. */
  claimUser: method('ClaimUser', ClaimUserRequest, ClaimUserResponse),
});
