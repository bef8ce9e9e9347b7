// Generated from agent/protocol/proto/agent.proto by `npm run proto`. Do not edit.
import { field, map, message, optional, repeated, type MessageType } from '../message.ts';
import { method, service } from '../service.ts';

export type Empty = Readonly<Record<never, never>>;

export const Empty: MessageType<Empty> = message('tskata.agent.v1.Empty', () => []);

export interface HelloRequest {
  /** Protocol version of the host: major * 1000 + minor. A different major is refused. */
  readonly protocol: number;
}

export const HelloRequest: MessageType<HelloRequest> = message('tskata.agent.v1.HelloRequest', () => [
  field(1, 'protocol', 'uint32'),
]);

export interface HelloResponse {
  readonly protocol: number;
  readonly agentVersion: string;
  readonly kernelRelease: string;
  /** Nanoseconds of CLOCK_BOOTTIME at which the agent's main began and at which it was ready. */
  readonly startedNs: bigint;
  readonly readyNs: bigint;
  readonly features: readonly string[];
  /**
   * CPU time, nanoseconds, that the agent and its calls of the kernel took from its execve to its readiness, and to when
   * its first answer since its start was written; the second is 0 in that first answer.
   */
  readonly readyCpuNs: bigint;
  readonly firstAnswerCpuNs: bigint;
}

export const HelloResponse: MessageType<HelloResponse> = message('tskata.agent.v1.HelloResponse', () => [
  field(1, 'protocol', 'uint32'),
  field(2, 'agentVersion', 'string'),
  field(3, 'kernelRelease', 'string'),
  field(4, 'startedNs', 'uint64'),
  field(5, 'readyNs', 'uint64'),
  repeated(6, 'features', 'string'),
  field(7, 'readyCpuNs', 'uint64'),
  field(8, 'firstAnswerCpuNs', 'uint64'),
]);

export interface CreateSandboxRequest {
  readonly sandboxId: string;
  readonly hostname: string;
  readonly wallClockNs: bigint;
  /** At least 32 bytes; credited to the guest's pool. */
  readonly entropy: Uint8Array;
  readonly sysctls: ReadonlyMap<string, string>;
  readonly network: NetworkConfig | undefined;
}

export const CreateSandboxRequest: MessageType<CreateSandboxRequest> = message('tskata.agent.v1.CreateSandboxRequest', () => [
  field(1, 'sandboxId', 'string'),
  field(2, 'hostname', 'string'),
  field(3, 'wallClockNs', 'uint64'),
  field(4, 'entropy', 'bytes'),
  map(6, 'sysctls', 'string', 'string'),
  field(7, 'network', NetworkConfig),
]);

export interface DestroySandboxRequest {
  readonly powerOff: boolean;
}

export const DestroySandboxRequest: MessageType<DestroySandboxRequest> = message('tskata.agent.v1.DestroySandboxRequest', () => [
  field(1, 'powerOff', 'bool'),
]);

/** How a container's root or a volume becomes visible in the guest. The agent makes its own mount points. */
export interface Storage {
  /** Chosen by the host, unique in the sandbox; mounts refer to it. */
  readonly id: string;
  readonly block: BlockStorage | undefined;
  readonly share: ShareStorage | undefined;
  readonly overlay: OverlayStorage | undefined;
  readonly tmpfs: TmpfsStorage | undefined;
}

export const Storage: MessageType<Storage> = message('tskata.agent.v1.Storage', () => [
  field(1, 'id', 'string'),
  field(2, 'block', BlockStorage, 'source'),
  field(3, 'share', ShareStorage, 'source'),
  field(4, 'overlay', OverlayStorage, 'source'),
  field(5, 'tmpfs', TmpfsStorage, 'source'),
]);

/** A disk, found by its PCI path from the root bus: "slot.function" parts joined by "/" ("05.0/00.0"). */
export interface BlockStorage {
  readonly pciPath: string;
  /** "squashfs", "erofs", "ext4". */
  readonly fsType: string;
  readonly readOnly: boolean;
}

export const BlockStorage: MessageType<BlockStorage> = message('tskata.agent.v1.BlockStorage', () => [
  field(1, 'pciPath', 'string'),
  field(2, 'fsType', 'string'),
  field(3, 'readOnly', 'bool'),
]);

/** A virtio-fs share by its tag, or a path below one that is already mounted. */
export interface ShareStorage {
  readonly tag: string;
  /** Relative, without ".."; empty for the whole share. */
  readonly subpath: string;
  readonly readOnly: boolean;
}

export const ShareStorage: MessageType<ShareStorage> = message('tskata.agent.v1.ShareStorage', () => [
  field(1, 'tag', 'string'),
  field(2, 'subpath', 'string'),
  field(3, 'readOnly', 'bool'),
]);

/** Lower storages, lowest first, with an optional writable upper storage (its "upper" and "work" directories). */
export interface OverlayStorage {
  readonly lowerIds: readonly string[];
  readonly upperId: string;
}

export const OverlayStorage: MessageType<OverlayStorage> = message('tskata.agent.v1.OverlayStorage', () => [
  repeated(1, 'lowerIds', 'string'),
  field(2, 'upperId', 'string'),
]);

export interface TmpfsStorage {
  /** 0: half of the guest's memory. */
  readonly sizeBytes: bigint;
  /**
   * The sandbox's rather than one container's: whoever asks first has it made, later ones get the same, and it lives
   * until the sandbox ends. Fields below go for such a one only.
   */
  readonly shared: boolean;
  /** Permission bits and owner of its root. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Directories that must be in it; those that are there already stay as they are. */
  readonly directories: readonly TmpfsDirectory[];
}

export const TmpfsStorage: MessageType<TmpfsStorage> = message('tskata.agent.v1.TmpfsStorage', () => [
  field(1, 'sizeBytes', 'uint64'),
  field(2, 'shared', 'bool'),
  field(3, 'mode', 'uint32'),
  field(4, 'uid', 'uint32'),
  field(5, 'gid', 'uint32'),
  repeated(6, 'directories', TmpfsDirectory),
]);

export interface TmpfsDirectory {
  /** Relative, without "..". */
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export const TmpfsDirectory: MessageType<TmpfsDirectory> = message('tskata.agent.v1.TmpfsDirectory', () => [
  field(1, 'path', 'string'),
  field(2, 'mode', 'uint32'),
  field(3, 'uid', 'uint32'),
  field(4, 'gid', 'uint32'),
]);

/**
 * Names directly below a share that the host has removed: the guest drops what it remembers of them, which the host
 * would keep open otherwise.
 */
export interface ForgetShareNamesRequest {
  readonly tag: string;
  readonly names: readonly string[];
}

export const ForgetShareNamesRequest: MessageType<ForgetShareNamesRequest> = message('tskata.agent.v1.ForgetShareNamesRequest', () => [
  field(1, 'tag', 'string'),
  repeated(2, 'names', 'string'),
]);

export interface CreateContainerRequest {
  readonly containerId: string;
  /** In the order in which they must be made; undone in reverse order. */
  readonly storages: readonly Storage[];
  /** The storage that is the container's root. */
  readonly rootfsId: string;
  readonly spec: ContainerSpec | undefined;
  readonly streams: Streams | undefined;
}

export const CreateContainerRequest: MessageType<CreateContainerRequest> = message('tskata.agent.v1.CreateContainerRequest', () => [
  field(1, 'containerId', 'string'),
  repeated(2, 'storages', Storage),
  field(3, 'rootfsId', 'string'),
  field(4, 'spec', ContainerSpec),
  field(5, 'streams', Streams),
]);

export interface CreateContainerResponse {
  /** In the guest's PID namespace. */
  readonly guestPid: number;
}

export const CreateContainerResponse: MessageType<CreateContainerResponse> = message('tskata.agent.v1.CreateContainerResponse', () => [
  field(1, 'guestPid', 'uint32'),
]);

export interface ContainerRequest {
  readonly containerId: string;
}

export const ContainerRequest: MessageType<ContainerRequest> = message('tskata.agent.v1.ContainerRequest', () => [
  field(1, 'containerId', 'string'),
]);

/** Stream ids on the bytes port, chosen by the host; 0: none (the process gets /dev/null). */
export interface Streams {
  readonly stdin: number;
  readonly stdout: number;
  /** Always 0 with a terminal. */
  readonly stderr: number;
}

export const Streams: MessageType<Streams> = message('tskata.agent.v1.Streams', () => [
  field(1, 'stdin', 'uint32'),
  field(2, 'stdout', 'uint32'),
  field(3, 'stderr', 'uint32'),
]);

/** What the agent needs of an OCI runtime spec, field by field. Names follow the spec. */
export interface ContainerSpec {
  readonly process: Process | undefined;
  readonly rootReadonly: boolean;
  readonly hostname: string;
  readonly domainname: string;
  readonly mounts: readonly Mount[];
  readonly namespaces: readonly string[];
  readonly uidMappings: readonly IdMapping[];
  readonly gidMappings: readonly IdMapping[];
  readonly devices: readonly Device[];
  readonly resources: Resources | undefined;
  readonly seccomp: Seccomp | undefined;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly sysctls: ReadonlyMap<string, string>;
  /** "", "private", "shared", "slave", "unbindable", with an "r" in front for recursive. */
  readonly rootfsPropagation: string;
  /** Files made in the guest and bound over the container's, read-write: /etc/hosts, /etc/resolv.conf, /etc/hostname. */
  readonly files: readonly GuestFile[];
  /** Id of a container of this sandbox whose PID namespace this one joins; "pid" is not in `namespaces` then. */
  readonly pidNamespaceOf: string;
}

export const ContainerSpec: MessageType<ContainerSpec> = message('tskata.agent.v1.ContainerSpec', () => [
  field(1, 'process', Process),
  field(2, 'rootReadonly', 'bool'),
  field(3, 'hostname', 'string'),
  field(4, 'domainname', 'string'),
  repeated(5, 'mounts', Mount),
  repeated(6, 'namespaces', 'string'),
  repeated(7, 'uidMappings', IdMapping),
  repeated(8, 'gidMappings', IdMapping),
  repeated(9, 'devices', Device),
  field(10, 'resources', Resources),
  field(11, 'seccomp', Seccomp),
  repeated(12, 'maskedPaths', 'string'),
  repeated(13, 'readonlyPaths', 'string'),
  map(14, 'sysctls', 'string', 'string'),
  field(15, 'rootfsPropagation', 'string'),
  repeated(16, 'files', GuestFile),
  field(17, 'pidNamespaceOf', 'string'),
]);

export interface GuestFile {
  readonly destination: string;
  readonly content: Uint8Array;
  readonly mode: number;
}

export const GuestFile: MessageType<GuestFile> = message('tskata.agent.v1.GuestFile', () => [
  field(1, 'destination', 'string'),
  field(2, 'content', 'bytes'),
  field(3, 'mode', 'uint32'),
]);

export interface Process {
  readonly terminal: boolean;
  readonly rows: number;
  readonly columns: number;
  readonly user: User | undefined;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly capabilities: Capabilities | undefined;
  readonly rlimits: readonly Rlimit[];
  readonly noNewPrivileges: boolean;
  readonly oomScoreAdj: number | undefined;
  readonly scheduler: Scheduler | undefined;
  readonly ioPriority: IoPriority | undefined;
  /** Argument of personality(2). */
  readonly personality: number;
}

export const Process: MessageType<Process> = message('tskata.agent.v1.Process', () => [
  field(1, 'terminal', 'bool'),
  field(2, 'rows', 'uint32'),
  field(3, 'columns', 'uint32'),
  field(4, 'user', User),
  repeated(5, 'args', 'string'),
  repeated(6, 'env', 'string'),
  field(7, 'cwd', 'string'),
  field(8, 'capabilities', Capabilities),
  repeated(9, 'rlimits', Rlimit),
  field(10, 'noNewPrivileges', 'bool'),
  optional(11, 'oomScoreAdj', 'int32'),
  field(12, 'scheduler', Scheduler),
  field(13, 'ioPriority', IoPriority),
  field(14, 'personality', 'uint32'),
]);

/** struct sched_attr of sched_setattr(2). */
export interface Scheduler {
  readonly policy: number;
  readonly flags: bigint;
  readonly nice: number;
  readonly priority: number;
  readonly runtimeNs: bigint;
  readonly deadlineNs: bigint;
  readonly periodNs: bigint;
}

export const Scheduler: MessageType<Scheduler> = message('tskata.agent.v1.Scheduler', () => [
  field(1, 'policy', 'uint32'),
  field(2, 'flags', 'uint64'),
  field(3, 'nice', 'int32'),
  field(4, 'priority', 'uint32'),
  field(5, 'runtimeNs', 'uint64'),
  field(6, 'deadlineNs', 'uint64'),
  field(7, 'periodNs', 'uint64'),
]);

/** Class and level of ioprio_set(2). */
export interface IoPriority {
  readonly ioClass: number;
  readonly level: number;
}

export const IoPriority: MessageType<IoPriority> = message('tskata.agent.v1.IoPriority', () => [
  field(1, 'ioClass', 'uint32'),
  field(2, 'level', 'uint32'),
]);

export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  readonly umask: number | undefined;
  /** A name, "user[:group]" of the image, looked up in the container's /etc/passwd and /etc/group when not empty. */
  readonly username: string;
}

export const User: MessageType<User> = message('tskata.agent.v1.User', () => [
  field(1, 'uid', 'uint32'),
  field(2, 'gid', 'uint32'),
  repeated(3, 'additionalGids', 'uint32'),
  optional(4, 'umask', 'uint32'),
  field(5, 'username', 'string'),
]);

export interface Capabilities {
  readonly bounding: readonly string[];
  readonly effective: readonly string[];
  readonly inheritable: readonly string[];
  readonly permitted: readonly string[];
  readonly ambient: readonly string[];
}

export const Capabilities: MessageType<Capabilities> = message('tskata.agent.v1.Capabilities', () => [
  repeated(1, 'bounding', 'string'),
  repeated(2, 'effective', 'string'),
  repeated(3, 'inheritable', 'string'),
  repeated(4, 'permitted', 'string'),
  repeated(5, 'ambient', 'string'),
]);

export interface Rlimit {
  readonly type: string;
  readonly soft: bigint;
  readonly hard: bigint;
}

export const Rlimit: MessageType<Rlimit> = message('tskata.agent.v1.Rlimit', () => [
  field(1, 'type', 'string'),
  field(2, 'soft', 'uint64'),
  field(3, 'hard', 'uint64'),
]);

export interface Mount {
  readonly destination: string;
  /** "bind" takes `storage_id`; everything else is a file-system type of the guest kernel. */
  readonly type: string;
  /** For file systems that name one (tmpfs, proc); never a host path. */
  readonly source: string;
  readonly options: readonly string[];
  /** For binds: a storage of this request, or of the sandbox. */
  readonly storageId: string;
  /** Path inside that storage: relative, without "..". */
  readonly storagePath: string;
  /** The destination is a file. */
  readonly isFile: boolean;
}

export const Mount: MessageType<Mount> = message('tskata.agent.v1.Mount', () => [
  field(1, 'destination', 'string'),
  field(2, 'type', 'string'),
  field(3, 'source', 'string'),
  repeated(4, 'options', 'string'),
  field(5, 'storageId', 'string'),
  field(6, 'storagePath', 'string'),
  field(7, 'isFile', 'bool'),
]);

export interface IdMapping {
  readonly containerId: number;
  readonly hostId: number;
  readonly size: number;
}

export const IdMapping: MessageType<IdMapping> = message('tskata.agent.v1.IdMapping', () => [
  field(1, 'containerId', 'uint32'),
  field(2, 'hostId', 'uint32'),
  field(3, 'size', 'uint32'),
]);

export interface Device {
  /** "c", "b", "p", "u". */
  readonly type: string;
  readonly path: string;
  readonly major: bigint;
  readonly minor: bigint;
  readonly fileMode: number;
  readonly uid: number;
  readonly gid: number;
}

export const Device: MessageType<Device> = message('tskata.agent.v1.Device', () => [
  field(1, 'type', 'string'),
  field(2, 'path', 'string'),
  field(3, 'major', 'int64'),
  field(4, 'minor', 'int64'),
  field(5, 'fileMode', 'uint32'),
  field(6, 'uid', 'uint32'),
  field(7, 'gid', 'uint32'),
]);

export interface DeviceRule {
  readonly allow: boolean;
  /** "a", "c", "b". */
  readonly type: string;
  /** -1: any. */
  readonly major: bigint;
  readonly minor: bigint;
  /** Of "rwm". */
  readonly access: string;
}

export const DeviceRule: MessageType<DeviceRule> = message('tskata.agent.v1.DeviceRule', () => [
  field(1, 'allow', 'bool'),
  field(2, 'type', 'string'),
  field(3, 'major', 'int64'),
  field(4, 'minor', 'int64'),
  field(5, 'access', 'string'),
]);

/** Only set fields are applied. Values are those of the OCI spec; the agent translates to cgroup v2 as runc does. */
export interface Resources {
  readonly devices: readonly DeviceRule[];
  readonly memoryLimit: bigint | undefined;
  readonly memoryReservation: bigint | undefined;
  readonly memorySwap: bigint | undefined;
  readonly disableOomKiller: boolean | undefined;
  readonly cpuShares: bigint | undefined;
  readonly cpuQuota: bigint | undefined;
  readonly cpuPeriod: bigint | undefined;
  readonly cpuBurst: bigint | undefined;
  readonly cpuIdle: bigint | undefined;
  readonly cpusetCpus: string;
  readonly cpusetMems: string;
  readonly pidsLimit: bigint | undefined;
  readonly blkioWeight: number | undefined;
  readonly throttleReadBps: readonly ThrottleDevice[];
  readonly throttleWriteBps: readonly ThrottleDevice[];
  readonly throttleReadIops: readonly ThrottleDevice[];
  readonly throttleWriteIops: readonly ThrottleDevice[];
  readonly hugepageLimits: readonly HugepageLimit[];
  /** cgroup v2 files by name ("memory.high"), written last. */
  readonly unified: ReadonlyMap<string, string>;
}

export const Resources: MessageType<Resources> = message('tskata.agent.v1.Resources', () => [
  repeated(1, 'devices', DeviceRule),
  optional(2, 'memoryLimit', 'int64'),
  optional(3, 'memoryReservation', 'int64'),
  optional(4, 'memorySwap', 'int64'),
  optional(5, 'disableOomKiller', 'bool'),
  optional(6, 'cpuShares', 'uint64'),
  optional(7, 'cpuQuota', 'int64'),
  optional(8, 'cpuPeriod', 'uint64'),
  optional(9, 'cpuBurst', 'uint64'),
  optional(10, 'cpuIdle', 'int64'),
  field(11, 'cpusetCpus', 'string'),
  field(12, 'cpusetMems', 'string'),
  optional(13, 'pidsLimit', 'int64'),
  optional(14, 'blkioWeight', 'uint32'),
  repeated(15, 'throttleReadBps', ThrottleDevice),
  repeated(16, 'throttleWriteBps', ThrottleDevice),
  repeated(17, 'throttleReadIops', ThrottleDevice),
  repeated(18, 'throttleWriteIops', ThrottleDevice),
  repeated(19, 'hugepageLimits', HugepageLimit),
  map(20, 'unified', 'string', 'string'),
]);

export interface ThrottleDevice {
  readonly major: bigint;
  readonly minor: bigint;
  readonly rate: bigint;
}

export const ThrottleDevice: MessageType<ThrottleDevice> = message('tskata.agent.v1.ThrottleDevice', () => [
  field(1, 'major', 'int64'),
  field(2, 'minor', 'int64'),
  field(3, 'rate', 'uint64'),
]);

export interface HugepageLimit {
  readonly pageSize: string;
  readonly limit: bigint;
}

export const HugepageLimit: MessageType<HugepageLimit> = message('tskata.agent.v1.HugepageLimit', () => [
  field(1, 'pageSize', 'string'),
  field(2, 'limit', 'uint64'),
]);

export interface Seccomp {
  readonly defaultAction: string;
  readonly defaultErrno: number | undefined;
  readonly architectures: readonly string[];
  readonly flags: readonly string[];
  readonly syscalls: readonly SyscallRule[];
}

export const Seccomp: MessageType<Seccomp> = message('tskata.agent.v1.Seccomp', () => [
  field(1, 'defaultAction', 'string'),
  optional(2, 'defaultErrno', 'uint32'),
  repeated(3, 'architectures', 'string'),
  repeated(4, 'flags', 'string'),
  repeated(5, 'syscalls', SyscallRule),
]);

export interface SyscallRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errno: number | undefined;
  readonly args: readonly SyscallArg[];
}

export const SyscallRule: MessageType<SyscallRule> = message('tskata.agent.v1.SyscallRule', () => [
  repeated(1, 'names', 'string'),
  field(2, 'action', 'string'),
  optional(3, 'errno', 'uint32'),
  repeated(4, 'args', SyscallArg),
]);

export interface SyscallArg {
  readonly index: number;
  readonly value: bigint;
  readonly valueTwo: bigint;
  readonly op: string;
}

export const SyscallArg: MessageType<SyscallArg> = message('tskata.agent.v1.SyscallArg', () => [
  field(1, 'index', 'uint32'),
  field(2, 'value', 'uint64'),
  field(3, 'valueTwo', 'uint64'),
  field(4, 'op', 'string'),
]);

export interface UpdateContainerRequest {
  readonly containerId: string;
  readonly resources: Resources | undefined;
}

export const UpdateContainerRequest: MessageType<UpdateContainerRequest> = message('tskata.agent.v1.UpdateContainerRequest', () => [
  field(1, 'containerId', 'string'),
  field(2, 'resources', Resources),
]);

export interface ExecProcessRequest {
  readonly containerId: string;
  readonly execId: string;
  readonly process: Process | undefined;
  readonly streams: Streams | undefined;
}

export const ExecProcessRequest: MessageType<ExecProcessRequest> = message('tskata.agent.v1.ExecProcessRequest', () => [
  field(1, 'containerId', 'string'),
  field(2, 'execId', 'string'),
  field(3, 'process', Process),
  field(4, 'streams', Streams),
]);

export interface ExecProcessResponse {
  readonly guestPid: number;
}

export const ExecProcessResponse: MessageType<ExecProcessResponse> = message('tskata.agent.v1.ExecProcessResponse', () => [
  field(1, 'guestPid', 'uint32'),
]);

/** exec_id is empty for the container's init. */
export interface ProcessRequest {
  readonly containerId: string;
  readonly execId: string;
}

export const ProcessRequest: MessageType<ProcessRequest> = message('tskata.agent.v1.ProcessRequest', () => [
  field(1, 'containerId', 'string'),
  field(2, 'execId', 'string'),
]);

export interface SignalProcessRequest {
  readonly containerId: string;
  readonly execId: string;
  readonly signal: number;
  /** Every process of the container. */
  readonly all: boolean;
}

export const SignalProcessRequest: MessageType<SignalProcessRequest> = message('tskata.agent.v1.SignalProcessRequest', () => [
  field(1, 'containerId', 'string'),
  field(2, 'execId', 'string'),
  field(3, 'signal', 'uint32'),
  field(4, 'all', 'bool'),
]);

export interface WaitProcessResponse {
  /** 0..255; 128 + n for signal n. */
  readonly exitStatus: number;
  readonly exitedAtNs: bigint;
  readonly oomKilled: boolean;
  /**
   * Bytes of the output streams up to the exit: sent, queued for credit, and still in the pipe (FIONREAD) when the
   * process ended. The host reports the exit when it has delivered as many, or after its bound; an orphan that holds
   * the pipe open adds nothing here.
   */
  readonly stdoutBytes: bigint;
  readonly stderrBytes: bigint;
}

export const WaitProcessResponse: MessageType<WaitProcessResponse> = message('tskata.agent.v1.WaitProcessResponse', () => [
  field(1, 'exitStatus', 'uint32'),
  field(2, 'exitedAtNs', 'uint64'),
  field(3, 'oomKilled', 'bool'),
  field(4, 'stdoutBytes', 'uint64'),
  field(5, 'stderrBytes', 'uint64'),
]);

export interface ResizeTerminalRequest {
  readonly containerId: string;
  readonly execId: string;
  readonly rows: number;
  readonly columns: number;
}

export const ResizeTerminalRequest: MessageType<ResizeTerminalRequest> = message('tskata.agent.v1.ResizeTerminalRequest', () => [
  field(1, 'containerId', 'string'),
  field(2, 'execId', 'string'),
  field(3, 'rows', 'uint32'),
  field(4, 'columns', 'uint32'),
]);

export interface ListProcessesResponse {
  readonly processes: readonly GuestProcess[];
}

export const ListProcessesResponse: MessageType<ListProcessesResponse> = message('tskata.agent.v1.ListProcessesResponse', () => [
  repeated(1, 'processes', GuestProcess),
]);

export interface GuestProcess {
  readonly pid: number;
  readonly parentPid: number;
  readonly uid: number;
  readonly command: string;
}

export const GuestProcess: MessageType<GuestProcess> = message('tskata.agent.v1.GuestProcess', () => [
  field(1, 'pid', 'uint32'),
  field(2, 'parentPid', 'uint32'),
  field(3, 'uid', 'uint32'),
  field(4, 'command', 'string'),
]);

export interface NetworkConfig {
  readonly interfaces: readonly Interface[];
  readonly routes: readonly Route[];
  readonly neighbors: readonly Neighbor[];
}

export const NetworkConfig: MessageType<NetworkConfig> = message('tskata.agent.v1.NetworkConfig', () => [
  repeated(1, 'interfaces', Interface),
  repeated(2, 'routes', Route),
  repeated(3, 'neighbors', Neighbor),
]);

export interface ConfigureNetworkRequest {
  /** The whole wanted state; what is there and not in it is removed (lo excepted). */
  readonly network: NetworkConfig | undefined;
}

export const ConfigureNetworkRequest: MessageType<ConfigureNetworkRequest> = message('tskata.agent.v1.ConfigureNetworkRequest', () => [
  field(1, 'network', NetworkConfig),
]);

export interface Interface {
  /** Found by its hardware address, then renamed. */
  readonly mac: string;
  readonly name: string;
  readonly mtu: number;
  /** CIDR form, IPv4 and IPv6. */
  readonly addresses: readonly string[];
  /** The routes of the request are all that there are: an address brings none to its own prefix. */
  readonly noPrefixRoutes: boolean;
}

export const Interface: MessageType<Interface> = message('tskata.agent.v1.Interface', () => [
  field(1, 'mac', 'string'),
  field(2, 'name', 'string'),
  field(3, 'mtu', 'uint32'),
  repeated(4, 'addresses', 'string'),
  field(5, 'noPrefixRoutes', 'bool'),
]);

export interface Route {
  /** CIDR form; empty: the default route of `family`. */
  readonly destination: string;
  readonly gateway: string;
  readonly interface: string;
  readonly source: string;
  /** 4 or 6. */
  readonly family: number;
  /** RT_SCOPE_* number. */
  readonly scope: number;
  readonly onlink: boolean;
  readonly metric: number;
  /** Bytes of the largest packet on the way; 0: the interface's. */
  readonly mtu: number;
}

export const Route: MessageType<Route> = message('tskata.agent.v1.Route', () => [
  field(1, 'destination', 'string'),
  field(2, 'gateway', 'string'),
  field(3, 'interface', 'string'),
  field(4, 'source', 'string'),
  field(5, 'family', 'uint32'),
  field(6, 'scope', 'uint32'),
  field(7, 'onlink', 'bool'),
  field(8, 'metric', 'uint32'),
  field(9, 'mtu', 'uint32'),
]);

export interface Neighbor {
  readonly address: string;
  readonly interface: string;
  readonly mac: string;
}

export const Neighbor: MessageType<Neighbor> = message('tskata.agent.v1.Neighbor', () => [
  field(1, 'address', 'string'),
  field(2, 'interface', 'string'),
  field(3, 'mac', 'string'),
]);

export interface SetClockRequest {
  readonly wallClockNs: bigint;
}

export const SetClockRequest: MessageType<SetClockRequest> = message('tskata.agent.v1.SetClockRequest', () => [
  field(1, 'wallClockNs', 'uint64'),
]);

export interface ReseedRequest {
  readonly entropy: Uint8Array;
}

export const ReseedRequest: MessageType<ReseedRequest> = message('tskata.agent.v1.ReseedRequest', () => [
  field(1, 'entropy', 'bytes'),
]);

export interface DialRequest {
  /** Stream id on the bytes port, both directions. */
  readonly stream: number;
  /** "tcp", "udp", "unix". */
  readonly network: string;
  /** "127.0.0.1:80", "[::1]:53", "/path" (resolved in `container_id`'s root when set). */
  readonly address: string;
  readonly containerId: string;
}

export const DialRequest: MessageType<DialRequest> = message('tskata.agent.v1.DialRequest', () => [
  field(1, 'stream', 'uint32'),
  field(2, 'network', 'string'),
  field(3, 'address', 'string'),
  field(4, 'containerId', 'string'),
]);

export interface NextEventsRequest {
  readonly after: bigint;
}

export const NextEventsRequest: MessageType<NextEventsRequest> = message('tskata.agent.v1.NextEventsRequest', () => [
  field(1, 'after', 'uint64'),
]);

export interface NextEventsResponse {
  readonly events: readonly Event[];
}

export const NextEventsResponse: MessageType<NextEventsResponse> = message('tskata.agent.v1.NextEventsResponse', () => [
  repeated(1, 'events', Event),
]);

export interface Event {
  /** Rises by one from 1. */
  readonly sequence: bigint;
  readonly containerId: string;
  readonly execId: string;
  readonly oom: OomEvent | undefined;
  readonly exit: ExitEvent | undefined;
}

export const Event: MessageType<Event> = message('tskata.agent.v1.Event', () => [
  field(1, 'sequence', 'uint64'),
  field(2, 'containerId', 'string'),
  field(3, 'execId', 'string'),
  field(4, 'oom', OomEvent, 'event'),
  field(5, 'exit', ExitEvent, 'event'),
]);

export interface OomEvent {
  /** Processes of the container that the kernel has killed for memory so far. */
  readonly kills: bigint;
}

export const OomEvent: MessageType<OomEvent> = message('tskata.agent.v1.OomEvent', () => [
  field(1, 'kills', 'uint64'),
]);

export interface ExitEvent {
  readonly exitStatus: number;
  readonly exitedAtNs: bigint;
}

export const ExitEvent: MessageType<ExitEvent> = message('tskata.agent.v1.ExitEvent', () => [
  field(1, 'exitStatus', 'uint32'),
  field(2, 'exitedAtNs', 'uint64'),
]);

export interface GuestInfoResponse {
  readonly memoryTotal: bigint;
  readonly memoryAvailable: bigint;
  readonly uptimeNs: bigint;
  /** Resident bytes of the agent. */
  readonly agentResident: bigint;
  readonly openDescriptors: number;
}

export const GuestInfoResponse: MessageType<GuestInfoResponse> = message('tskata.agent.v1.GuestInfoResponse', () => [
  field(1, 'memoryTotal', 'uint64'),
  field(2, 'memoryAvailable', 'uint64'),
  field(3, 'uptimeNs', 'uint64'),
  field(4, 'agentResident', 'uint64'),
  field(5, 'openDescriptors', 'uint32'),
]);

export interface StatsResponse {
  readonly cpu: CpuStats | undefined;
  readonly memory: MemoryStats | undefined;
  readonly pidsCurrent: bigint;
  readonly pidsLimit: bigint;
  readonly io: readonly IoStats[];
  readonly interfaces: readonly InterfaceStats[];
  /** One for each size of huge pages that the guest has. */
  readonly hugetlb: readonly HugetlbStats[];
}

export const StatsResponse: MessageType<StatsResponse> = message('tskata.agent.v1.StatsResponse', () => [
  field(1, 'cpu', CpuStats),
  field(2, 'memory', MemoryStats),
  field(3, 'pidsCurrent', 'uint64'),
  field(4, 'pidsLimit', 'uint64'),
  repeated(5, 'io', IoStats),
  repeated(6, 'interfaces', InterfaceStats),
  repeated(7, 'hugetlb', HugetlbStats),
]);

export interface HugetlbStats {
  /** "2MB". */
  readonly pageSize: string;
  /** Bytes. */
  readonly current: bigint;
  readonly max: bigint;
}

export const HugetlbStats: MessageType<HugetlbStats> = message('tskata.agent.v1.HugetlbStats', () => [
  field(1, 'pageSize', 'string'),
  field(2, 'current', 'uint64'),
  field(3, 'max', 'uint64'),
]);

export interface CpuStats {
  readonly usageUsec: bigint;
  readonly userUsec: bigint;
  readonly systemUsec: bigint;
  readonly nrPeriods: bigint;
  readonly nrThrottled: bigint;
  readonly throttledUsec: bigint;
}

export const CpuStats: MessageType<CpuStats> = message('tskata.agent.v1.CpuStats', () => [
  field(1, 'usageUsec', 'uint64'),
  field(2, 'userUsec', 'uint64'),
  field(3, 'systemUsec', 'uint64'),
  field(4, 'nrPeriods', 'uint64'),
  field(5, 'nrThrottled', 'uint64'),
  field(6, 'throttledUsec', 'uint64'),
]);

export interface MemoryStats {
  readonly usage: bigint;
  readonly usageLimit: bigint;
  readonly swapUsage: bigint;
  readonly swapLimit: bigint;
  readonly peak: bigint;
  /** memory.stat and memory.events, by the kernel's names (events as "events.oom"). */
  readonly stat: ReadonlyMap<string, bigint>;
}

export const MemoryStats: MessageType<MemoryStats> = message('tskata.agent.v1.MemoryStats', () => [
  field(1, 'usage', 'uint64'),
  field(2, 'usageLimit', 'uint64'),
  field(3, 'swapUsage', 'uint64'),
  field(4, 'swapLimit', 'uint64'),
  field(5, 'peak', 'uint64'),
  map(6, 'stat', 'string', 'uint64'),
]);

export interface IoStats {
  readonly major: bigint;
  readonly minor: bigint;
  readonly rbytes: bigint;
  readonly wbytes: bigint;
  readonly rios: bigint;
  readonly wios: bigint;
}

export const IoStats: MessageType<IoStats> = message('tskata.agent.v1.IoStats', () => [
  field(1, 'major', 'uint64'),
  field(2, 'minor', 'uint64'),
  field(3, 'rbytes', 'uint64'),
  field(4, 'wbytes', 'uint64'),
  field(5, 'rios', 'uint64'),
  field(6, 'wios', 'uint64'),
]);

export interface InterfaceStats {
  readonly name: string;
  readonly rxBytes: bigint;
  readonly rxPackets: bigint;
  readonly rxErrors: bigint;
  readonly rxDropped: bigint;
  readonly txBytes: bigint;
  readonly txPackets: bigint;
  readonly txErrors: bigint;
  readonly txDropped: bigint;
}

export const InterfaceStats: MessageType<InterfaceStats> = message('tskata.agent.v1.InterfaceStats', () => [
  field(1, 'name', 'string'),
  field(2, 'rxBytes', 'uint64'),
  field(3, 'rxPackets', 'uint64'),
  field(4, 'rxErrors', 'uint64'),
  field(5, 'rxDropped', 'uint64'),
  field(6, 'txBytes', 'uint64'),
  field(7, 'txPackets', 'uint64'),
  field(8, 'txErrors', 'uint64'),
  field(9, 'txDropped', 'uint64'),
]);

export const Agent = service('tskata.agent.v1.Agent', {
  /** First call of every connection, also after a restore. */
  hello: method('Hello', HelloRequest, HelloResponse),
  createSandbox: method('CreateSandbox', CreateSandboxRequest, Empty),
  /** Ends all containers, syncs and unmounts disks. The host powers the VM off afterwards, or asks for `power_off`. */
  destroySandbox: method('DestroySandbox', DestroySandboxRequest, Empty),
  /** A caller that has given it up before its end: what was made is removed, and the id is free again. */
  createContainer: method('CreateContainer', CreateContainerRequest, CreateContainerResponse),
  startContainer: method('StartContainer', ContainerRequest, Empty),
  deleteContainer: method('DeleteContainer', ContainerRequest, Empty),
  updateContainer: method('UpdateContainer', UpdateContainerRequest, Empty),
  pauseContainer: method('PauseContainer', ContainerRequest, Empty),
  resumeContainer: method('ResumeContainer', ContainerRequest, Empty),
  statsContainer: method('StatsContainer', ContainerRequest, StatsResponse),
  listProcesses: method('ListProcesses', ContainerRequest, ListProcessesResponse),
  /** Registers and starts one more process in a container. */
  execProcess: method('ExecProcess', ExecProcessRequest, ExecProcessResponse),
  signalProcess: method('SignalProcess', SignalProcessRequest, Empty),
  /** Answers as soon as the process has ended, saying how many bytes of output came before; any number of callers. */
  waitProcess: method('WaitProcess', ProcessRequest, WaitProcessResponse),
  /** Forgets an ended exec. */
  deleteProcess: method('DeleteProcess', ProcessRequest, Empty),
  resizeTerminal: method('ResizeTerminal', ResizeTerminalRequest, Empty),
  forgetShareNames: method('ForgetShareNames', ForgetShareNamesRequest, Empty),
  configureNetwork: method('ConfigureNetwork', ConfigureNetworkRequest, Empty),
  setClock: method('SetClock', SetClockRequest, Empty),
  reseed: method('Reseed', ReseedRequest, Empty),
  /** Opens a stream to an address inside the guest. */
  dial: method('Dial', DialRequest, Empty),
  /** Long poll: answers when something happened after `after`; an empty answer at the deadline is legal. */
  nextEvents: method('NextEvents', NextEventsRequest, NextEventsResponse),
  /** Counters of the guest as a whole. */
  guestInfo: method('GuestInfo', Empty, GuestInfoResponse),
});
