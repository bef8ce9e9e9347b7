// Generated from test/helpers/cri/proto/cri.proto by `npm run proto`. Do not edit.
import { field, map, message, repeated, type MessageType } from '../../../../agent/protocol/message.ts';
import { method, service } from '../../../../agent/protocol/service.ts';

/** Stands for every message of which nothing is wanted. */
export type Empty = Readonly<Record<never, never>>;

export const Empty: MessageType<Empty> = message('runtime.v1.Empty', () => []);

export interface VersionRequest {
  readonly version: string;
}

export const VersionRequest: MessageType<VersionRequest> = message('runtime.v1.VersionRequest', () => [
  field(1, 'version', 'string'),
]);

export interface VersionResponse {
  readonly version: string;
  readonly runtimeName: string;
  readonly runtimeVersion: string;
  readonly runtimeApiVersion: string;
}

export const VersionResponse: MessageType<VersionResponse> = message('runtime.v1.VersionResponse', () => [
  field(1, 'version', 'string'),
  field(2, 'runtimeName', 'string'),
  field(3, 'runtimeVersion', 'string'),
  field(4, 'runtimeApiVersion', 'string'),
]);

export interface StatusRequest {
  readonly verbose: boolean;
}

export const StatusRequest: MessageType<StatusRequest> = message('runtime.v1.StatusRequest', () => [
  field(1, 'verbose', 'bool'),
]);

export interface RuntimeCondition {
  readonly type: string;
  readonly status: boolean;
  readonly reason: string;
  readonly message: string;
}

export const RuntimeCondition: MessageType<RuntimeCondition> = message('runtime.v1.RuntimeCondition', () => [
  field(1, 'type', 'string'),
  field(2, 'status', 'bool'),
  field(3, 'reason', 'string'),
  field(4, 'message', 'string'),
]);

export interface RuntimeStatus {
  readonly conditions: readonly RuntimeCondition[];
}

export const RuntimeStatus: MessageType<RuntimeStatus> = message('runtime.v1.RuntimeStatus', () => [
  repeated(1, 'conditions', RuntimeCondition),
]);

export interface StatusResponse {
  readonly status: RuntimeStatus | undefined;
  readonly info: ReadonlyMap<string, string>;
}

export const StatusResponse: MessageType<StatusResponse> = message('runtime.v1.StatusResponse', () => [
  field(1, 'status', RuntimeStatus),
  map(2, 'info', 'string', 'string'),
]);

export interface Int64Value {
  readonly value: bigint;
}

export const Int64Value: MessageType<Int64Value> = message('runtime.v1.Int64Value', () => [
  field(1, 'value', 'int64'),
]);

export interface UInt64Value {
  readonly value: bigint;
}

export const UInt64Value: MessageType<UInt64Value> = message('runtime.v1.UInt64Value', () => [
  field(1, 'value', 'uint64'),
]);

export interface DnsConfig {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

export const DnsConfig: MessageType<DnsConfig> = message('runtime.v1.DnsConfig', () => [
  repeated(1, 'servers', 'string'),
  repeated(2, 'searches', 'string'),
  repeated(3, 'options', 'string'),
]);

export const Protocol = {
  TCP: 0,
  UDP: 1,
  SCTP: 2,
} as const;

export interface PortMapping {
  readonly protocol: number;
  readonly containerPort: number;
  readonly hostPort: number;
  readonly hostIp: string;
}

export const PortMapping: MessageType<PortMapping> = message('runtime.v1.PortMapping', () => [
  field(1, 'protocol', 'int32'),
  field(2, 'containerPort', 'int32'),
  field(3, 'hostPort', 'int32'),
  field(4, 'hostIp', 'string'),
]);

export const MountPropagation = {
  PROPAGATION_PRIVATE: 0,
  PROPAGATION_HOST_TO_CONTAINER: 1,
  PROPAGATION_BIDIRECTIONAL: 2,
} as const;

export interface Mount {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly readonly: boolean;
  readonly selinuxRelabel: boolean;
  readonly propagation: number;
}

export const Mount: MessageType<Mount> = message('runtime.v1.Mount', () => [
  field(1, 'containerPath', 'string'),
  field(2, 'hostPath', 'string'),
  field(3, 'readonly', 'bool'),
  field(4, 'selinuxRelabel', 'bool'),
  field(5, 'propagation', 'int32'),
]);

export const NamespaceMode = {
  POD: 0,
  CONTAINER: 1,
  NODE: 2,
  TARGET: 3,
} as const;

export interface NamespaceOption {
  readonly network: number;
  readonly pid: number;
  readonly ipc: number;
  readonly targetId: string;
}

export const NamespaceOption: MessageType<NamespaceOption> = message('runtime.v1.NamespaceOption', () => [
  field(1, 'network', 'int32'),
  field(2, 'pid', 'int32'),
  field(3, 'ipc', 'int32'),
  field(4, 'targetId', 'string'),
]);

export const ProfileType = {
  RUNTIME_DEFAULT: 0,
  UNCONFINED: 1,
  LOCALHOST: 2,
} as const;

export interface SecurityProfile {
  readonly profileType: number;
  readonly localhostRef: string;
}

export const SecurityProfile: MessageType<SecurityProfile> = message('runtime.v1.SecurityProfile', () => [
  field(1, 'profileType', 'int32'),
  field(2, 'localhostRef', 'string'),
]);

export interface LinuxSandboxSecurityContext {
  readonly namespaceOptions: NamespaceOption | undefined;
  readonly runAsUser: Int64Value | undefined;
  readonly readonlyRootfs: boolean;
  readonly supplementalGroups: readonly bigint[];
  readonly privileged: boolean;
  readonly runAsGroup: Int64Value | undefined;
  readonly seccomp: SecurityProfile | undefined;
}

export const LinuxSandboxSecurityContext: MessageType<LinuxSandboxSecurityContext> = message('runtime.v1.LinuxSandboxSecurityContext', () => [
  field(1, 'namespaceOptions', NamespaceOption),
  field(3, 'runAsUser', Int64Value),
  field(4, 'readonlyRootfs', 'bool'),
  repeated(5, 'supplementalGroups', 'int64'),
  field(6, 'privileged', 'bool'),
  field(8, 'runAsGroup', Int64Value),
  field(9, 'seccomp', SecurityProfile),
]);

export interface LinuxPodSandboxConfig {
  readonly cgroupParent: string;
  readonly securityContext: LinuxSandboxSecurityContext | undefined;
  readonly sysctls: ReadonlyMap<string, string>;
  readonly overhead: LinuxContainerResources | undefined;
  readonly resources: LinuxContainerResources | undefined;
}

export const LinuxPodSandboxConfig: MessageType<LinuxPodSandboxConfig> = message('runtime.v1.LinuxPodSandboxConfig', () => [
  field(1, 'cgroupParent', 'string'),
  field(2, 'securityContext', LinuxSandboxSecurityContext),
  map(3, 'sysctls', 'string', 'string'),
  field(4, 'overhead', LinuxContainerResources),
  field(5, 'resources', LinuxContainerResources),
]);

export interface PodSandboxMetadata {
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly attempt: number;
}

export const PodSandboxMetadata: MessageType<PodSandboxMetadata> = message('runtime.v1.PodSandboxMetadata', () => [
  field(1, 'name', 'string'),
  field(2, 'uid', 'string'),
  field(3, 'namespace', 'string'),
  field(4, 'attempt', 'uint32'),
]);

export interface PodSandboxConfig {
  readonly metadata: PodSandboxMetadata | undefined;
  readonly hostname: string;
  readonly logDirectory: string;
  readonly dnsConfig: DnsConfig | undefined;
  readonly portMappings: readonly PortMapping[];
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
  readonly linux: LinuxPodSandboxConfig | undefined;
}

export const PodSandboxConfig: MessageType<PodSandboxConfig> = message('runtime.v1.PodSandboxConfig', () => [
  field(1, 'metadata', PodSandboxMetadata),
  field(2, 'hostname', 'string'),
  field(3, 'logDirectory', 'string'),
  field(4, 'dnsConfig', DnsConfig),
  repeated(5, 'portMappings', PortMapping),
  map(6, 'labels', 'string', 'string'),
  map(7, 'annotations', 'string', 'string'),
  field(8, 'linux', LinuxPodSandboxConfig),
]);

export interface RunPodSandboxRequest {
  readonly config: PodSandboxConfig | undefined;
  readonly runtimeHandler: string;
}

export const RunPodSandboxRequest: MessageType<RunPodSandboxRequest> = message('runtime.v1.RunPodSandboxRequest', () => [
  field(1, 'config', PodSandboxConfig),
  field(2, 'runtimeHandler', 'string'),
]);

export interface RunPodSandboxResponse {
  readonly podSandboxId: string;
}

export const RunPodSandboxResponse: MessageType<RunPodSandboxResponse> = message('runtime.v1.RunPodSandboxResponse', () => [
  field(1, 'podSandboxId', 'string'),
]);

export interface PodSandboxRequest {
  readonly podSandboxId: string;
  readonly verbose: boolean;
}

export const PodSandboxRequest: MessageType<PodSandboxRequest> = message('runtime.v1.PodSandboxRequest', () => [
  field(1, 'podSandboxId', 'string'),
  field(2, 'verbose', 'bool'),
]);

export interface PodIp {
  readonly ip: string;
}

export const PodIp: MessageType<PodIp> = message('runtime.v1.PodIp', () => [
  field(1, 'ip', 'string'),
]);

export interface PodSandboxNetworkStatus {
  readonly ip: string;
  readonly additionalIps: readonly PodIp[];
}

export const PodSandboxNetworkStatus: MessageType<PodSandboxNetworkStatus> = message('runtime.v1.PodSandboxNetworkStatus', () => [
  field(1, 'ip', 'string'),
  repeated(2, 'additionalIps', PodIp),
]);

export const PodSandboxState = {
  SANDBOX_READY: 0,
  SANDBOX_NOTREADY: 1,
} as const;

export interface PodSandboxStatus {
  readonly id: string;
  readonly metadata: PodSandboxMetadata | undefined;
  readonly state: number;
  readonly createdAt: bigint;
  readonly network: PodSandboxNetworkStatus | undefined;
  readonly runtimeHandler: string;
}

export const PodSandboxStatus: MessageType<PodSandboxStatus> = message('runtime.v1.PodSandboxStatus', () => [
  field(1, 'id', 'string'),
  field(2, 'metadata', PodSandboxMetadata),
  field(3, 'state', 'int32'),
  field(4, 'createdAt', 'int64'),
  field(5, 'network', PodSandboxNetworkStatus),
  field(9, 'runtimeHandler', 'string'),
]);

export interface PodSandboxStatusResponse {
  readonly status: PodSandboxStatus | undefined;
  readonly info: ReadonlyMap<string, string>;
}

export const PodSandboxStatusResponse: MessageType<PodSandboxStatusResponse> = message('runtime.v1.PodSandboxStatusResponse', () => [
  field(1, 'status', PodSandboxStatus),
  map(2, 'info', 'string', 'string'),
]);

export interface PodSandbox {
  readonly id: string;
  readonly metadata: PodSandboxMetadata | undefined;
  readonly state: number;
  readonly runtimeHandler: string;
}

export const PodSandbox: MessageType<PodSandbox> = message('runtime.v1.PodSandbox', () => [
  field(1, 'id', 'string'),
  field(2, 'metadata', PodSandboxMetadata),
  field(3, 'state', 'int32'),
  field(7, 'runtimeHandler', 'string'),
]);

export interface ListPodSandboxResponse {
  readonly items: readonly PodSandbox[];
}

export const ListPodSandboxResponse: MessageType<ListPodSandboxResponse> = message('runtime.v1.ListPodSandboxResponse', () => [
  repeated(1, 'items', PodSandbox),
]);

export interface ImageSpec {
  readonly image: string;
}

export const ImageSpec: MessageType<ImageSpec> = message('runtime.v1.ImageSpec', () => [
  field(1, 'image', 'string'),
]);

export interface KeyValue {
  readonly key: string;
  readonly value: string;
}

export const KeyValue: MessageType<KeyValue> = message('runtime.v1.KeyValue', () => [
  field(1, 'key', 'string'),
  field(2, 'value', 'string'),
]);

export interface LinuxContainerResources {
  readonly cpuPeriod: bigint;
  readonly cpuQuota: bigint;
  readonly cpuShares: bigint;
  readonly memoryLimitInBytes: bigint;
  readonly oomScoreAdj: bigint;
  readonly cpusetCpus: string;
  readonly cpusetMems: string;
  readonly unified: ReadonlyMap<string, string>;
  readonly memorySwapLimitInBytes: bigint;
}

export const LinuxContainerResources: MessageType<LinuxContainerResources> = message('runtime.v1.LinuxContainerResources', () => [
  field(1, 'cpuPeriod', 'int64'),
  field(2, 'cpuQuota', 'int64'),
  field(3, 'cpuShares', 'int64'),
  field(4, 'memoryLimitInBytes', 'int64'),
  field(5, 'oomScoreAdj', 'int64'),
  field(6, 'cpusetCpus', 'string'),
  field(7, 'cpusetMems', 'string'),
  map(9, 'unified', 'string', 'string'),
  field(10, 'memorySwapLimitInBytes', 'int64'),
]);

export interface Capability {
  readonly addCapabilities: readonly string[];
  readonly dropCapabilities: readonly string[];
}

export const Capability: MessageType<Capability> = message('runtime.v1.Capability', () => [
  repeated(1, 'addCapabilities', 'string'),
  repeated(2, 'dropCapabilities', 'string'),
]);

export interface LinuxContainerSecurityContext {
  readonly capabilities: Capability | undefined;
  readonly privileged: boolean;
  readonly namespaceOptions: NamespaceOption | undefined;
  readonly runAsUser: Int64Value | undefined;
  readonly runAsUsername: string;
  readonly readonlyRootfs: boolean;
  readonly supplementalGroups: readonly bigint[];
  readonly noNewPrivs: boolean;
  readonly runAsGroup: Int64Value | undefined;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly seccomp: SecurityProfile | undefined;
}

export const LinuxContainerSecurityContext: MessageType<LinuxContainerSecurityContext> = message('runtime.v1.LinuxContainerSecurityContext', () => [
  field(1, 'capabilities', Capability),
  field(2, 'privileged', 'bool'),
  field(3, 'namespaceOptions', NamespaceOption),
  field(5, 'runAsUser', Int64Value),
  field(6, 'runAsUsername', 'string'),
  field(7, 'readonlyRootfs', 'bool'),
  repeated(8, 'supplementalGroups', 'int64'),
  field(11, 'noNewPrivs', 'bool'),
  field(12, 'runAsGroup', Int64Value),
  repeated(13, 'maskedPaths', 'string'),
  repeated(14, 'readonlyPaths', 'string'),
  field(15, 'seccomp', SecurityProfile),
]);

export interface LinuxContainerConfig {
  readonly resources: LinuxContainerResources | undefined;
  readonly securityContext: LinuxContainerSecurityContext | undefined;
}

export const LinuxContainerConfig: MessageType<LinuxContainerConfig> = message('runtime.v1.LinuxContainerConfig', () => [
  field(1, 'resources', LinuxContainerResources),
  field(2, 'securityContext', LinuxContainerSecurityContext),
]);

export interface ContainerMetadata {
  readonly name: string;
  readonly attempt: number;
}

export const ContainerMetadata: MessageType<ContainerMetadata> = message('runtime.v1.ContainerMetadata', () => [
  field(1, 'name', 'string'),
  field(2, 'attempt', 'uint32'),
]);

export interface Device {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly permissions: string;
}

export const Device: MessageType<Device> = message('runtime.v1.Device', () => [
  field(1, 'containerPath', 'string'),
  field(2, 'hostPath', 'string'),
  field(3, 'permissions', 'string'),
]);

export interface ContainerConfig {
  readonly metadata: ContainerMetadata | undefined;
  readonly image: ImageSpec | undefined;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  readonly envs: readonly KeyValue[];
  readonly mounts: readonly Mount[];
  readonly devices: readonly Device[];
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
  readonly logPath: string;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  readonly tty: boolean;
  readonly linux: LinuxContainerConfig | undefined;
}

export const ContainerConfig: MessageType<ContainerConfig> = message('runtime.v1.ContainerConfig', () => [
  field(1, 'metadata', ContainerMetadata),
  field(2, 'image', ImageSpec),
  repeated(3, 'command', 'string'),
  repeated(4, 'args', 'string'),
  field(5, 'workingDir', 'string'),
  repeated(6, 'envs', KeyValue),
  repeated(7, 'mounts', Mount),
  repeated(8, 'devices', Device),
  map(9, 'labels', 'string', 'string'),
  map(10, 'annotations', 'string', 'string'),
  field(11, 'logPath', 'string'),
  field(12, 'stdin', 'bool'),
  field(13, 'stdinOnce', 'bool'),
  field(14, 'tty', 'bool'),
  field(15, 'linux', LinuxContainerConfig),
]);

export interface CreateContainerRequest {
  readonly podSandboxId: string;
  readonly config: ContainerConfig | undefined;
  readonly sandboxConfig: PodSandboxConfig | undefined;
}

export const CreateContainerRequest: MessageType<CreateContainerRequest> = message('runtime.v1.CreateContainerRequest', () => [
  field(1, 'podSandboxId', 'string'),
  field(2, 'config', ContainerConfig),
  field(3, 'sandboxConfig', PodSandboxConfig),
]);

export interface CreateContainerResponse {
  readonly containerId: string;
}

export const CreateContainerResponse: MessageType<CreateContainerResponse> = message('runtime.v1.CreateContainerResponse', () => [
  field(1, 'containerId', 'string'),
]);

export interface ContainerRequest {
  readonly containerId: string;
}

export const ContainerRequest: MessageType<ContainerRequest> = message('runtime.v1.ContainerRequest', () => [
  field(1, 'containerId', 'string'),
]);

export interface StopContainerRequest {
  readonly containerId: string;
  /** Seconds until it is killed. */
  readonly timeout: bigint;
}

export const StopContainerRequest: MessageType<StopContainerRequest> = message('runtime.v1.StopContainerRequest', () => [
  field(1, 'containerId', 'string'),
  field(2, 'timeout', 'int64'),
]);

export const ContainerState = {
  CONTAINER_CREATED: 0,
  CONTAINER_RUNNING: 1,
  CONTAINER_EXITED: 2,
  CONTAINER_UNKNOWN: 3,
} as const;

export interface ContainerFilter {
  readonly id: string;
  readonly podSandboxId: string;
}

export const ContainerFilter: MessageType<ContainerFilter> = message('runtime.v1.ContainerFilter', () => [
  field(1, 'id', 'string'),
  field(3, 'podSandboxId', 'string'),
]);

export interface ListContainersRequest {
  readonly filter: ContainerFilter | undefined;
}

export const ListContainersRequest: MessageType<ListContainersRequest> = message('runtime.v1.ListContainersRequest', () => [
  field(1, 'filter', ContainerFilter),
]);

export interface Container {
  readonly id: string;
  readonly podSandboxId: string;
  readonly metadata: ContainerMetadata | undefined;
  readonly state: number;
}

export const Container: MessageType<Container> = message('runtime.v1.Container', () => [
  field(1, 'id', 'string'),
  field(2, 'podSandboxId', 'string'),
  field(3, 'metadata', ContainerMetadata),
  field(6, 'state', 'int32'),
]);

export interface ListContainersResponse {
  readonly containers: readonly Container[];
}

export const ListContainersResponse: MessageType<ListContainersResponse> = message('runtime.v1.ListContainersResponse', () => [
  repeated(1, 'containers', Container),
]);

export interface ContainerStatusRequest {
  readonly containerId: string;
  readonly verbose: boolean;
}

export const ContainerStatusRequest: MessageType<ContainerStatusRequest> = message('runtime.v1.ContainerStatusRequest', () => [
  field(1, 'containerId', 'string'),
  field(2, 'verbose', 'bool'),
]);

export interface ContainerStatus {
  readonly id: string;
  readonly metadata: ContainerMetadata | undefined;
  readonly state: number;
  /** Nanoseconds since the epoch; 0 when it has not happened. */
  readonly createdAt: bigint;
  readonly startedAt: bigint;
  readonly finishedAt: bigint;
  readonly exitCode: number;
  readonly reason: string;
  readonly message: string;
  readonly logPath: string;
}

export const ContainerStatus: MessageType<ContainerStatus> = message('runtime.v1.ContainerStatus', () => [
  field(1, 'id', 'string'),
  field(2, 'metadata', ContainerMetadata),
  field(3, 'state', 'int32'),
  field(4, 'createdAt', 'int64'),
  field(5, 'startedAt', 'int64'),
  field(6, 'finishedAt', 'int64'),
  field(7, 'exitCode', 'int32'),
  field(10, 'reason', 'string'),
  field(11, 'message', 'string'),
  field(15, 'logPath', 'string'),
]);

export interface ContainerStatusResponse {
  readonly status: ContainerStatus | undefined;
  readonly info: ReadonlyMap<string, string>;
}

export const ContainerStatusResponse: MessageType<ContainerStatusResponse> = message('runtime.v1.ContainerStatusResponse', () => [
  field(1, 'status', ContainerStatus),
  map(2, 'info', 'string', 'string'),
]);

export interface UpdateContainerResourcesRequest {
  readonly containerId: string;
  readonly linux: LinuxContainerResources | undefined;
}

export const UpdateContainerResourcesRequest: MessageType<UpdateContainerResourcesRequest> = message('runtime.v1.UpdateContainerResourcesRequest', () => [
  field(1, 'containerId', 'string'),
  field(2, 'linux', LinuxContainerResources),
]);

export interface ExecSyncRequest {
  readonly containerId: string;
  readonly cmd: readonly string[];
  /** Seconds; 0: none. */
  readonly timeout: bigint;
}

export const ExecSyncRequest: MessageType<ExecSyncRequest> = message('runtime.v1.ExecSyncRequest', () => [
  field(1, 'containerId', 'string'),
  repeated(2, 'cmd', 'string'),
  field(3, 'timeout', 'int64'),
]);

export interface ExecSyncResponse {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly exitCode: number;
}

export const ExecSyncResponse: MessageType<ExecSyncResponse> = message('runtime.v1.ExecSyncResponse', () => [
  field(1, 'stdout', 'bytes'),
  field(2, 'stderr', 'bytes'),
  field(3, 'exitCode', 'int32'),
]);

export interface ExecRequest {
  readonly containerId: string;
  readonly cmd: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

export const ExecRequest: MessageType<ExecRequest> = message('runtime.v1.ExecRequest', () => [
  field(1, 'containerId', 'string'),
  repeated(2, 'cmd', 'string'),
  field(3, 'tty', 'bool'),
  field(4, 'stdin', 'bool'),
  field(5, 'stdout', 'bool'),
  field(6, 'stderr', 'bool'),
]);

export interface AttachRequest {
  readonly containerId: string;
  readonly stdin: boolean;
  readonly tty: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

export const AttachRequest: MessageType<AttachRequest> = message('runtime.v1.AttachRequest', () => [
  field(1, 'containerId', 'string'),
  field(2, 'stdin', 'bool'),
  field(3, 'tty', 'bool'),
  field(4, 'stdout', 'bool'),
  field(5, 'stderr', 'bool'),
]);

export interface PortForwardRequest {
  readonly podSandboxId: string;
  readonly port: readonly number[];
}

export const PortForwardRequest: MessageType<PortForwardRequest> = message('runtime.v1.PortForwardRequest', () => [
  field(1, 'podSandboxId', 'string'),
  repeated(2, 'port', 'int32'),
]);

export interface StreamResponse {
  readonly url: string;
}

export const StreamResponse: MessageType<StreamResponse> = message('runtime.v1.StreamResponse', () => [
  field(1, 'url', 'string'),
]);

export interface ContainerAttributes {
  readonly id: string;
  readonly metadata: ContainerMetadata | undefined;
}

export const ContainerAttributes: MessageType<ContainerAttributes> = message('runtime.v1.ContainerAttributes', () => [
  field(1, 'id', 'string'),
  field(2, 'metadata', ContainerMetadata),
]);

export interface CpuUsage {
  readonly timestamp: bigint;
  readonly usageCoreNanoSeconds: UInt64Value | undefined;
}

export const CpuUsage: MessageType<CpuUsage> = message('runtime.v1.CpuUsage', () => [
  field(1, 'timestamp', 'int64'),
  field(2, 'usageCoreNanoSeconds', UInt64Value),
]);

export interface MemoryUsage {
  readonly timestamp: bigint;
  readonly workingSetBytes: UInt64Value | undefined;
  readonly usageBytes: UInt64Value | undefined;
}

export const MemoryUsage: MessageType<MemoryUsage> = message('runtime.v1.MemoryUsage', () => [
  field(1, 'timestamp', 'int64'),
  field(2, 'workingSetBytes', UInt64Value),
  field(4, 'usageBytes', UInt64Value),
]);

export interface ContainerStats {
  readonly attributes: ContainerAttributes | undefined;
  readonly cpu: CpuUsage | undefined;
  readonly memory: MemoryUsage | undefined;
}

export const ContainerStats: MessageType<ContainerStats> = message('runtime.v1.ContainerStats', () => [
  field(1, 'attributes', ContainerAttributes),
  field(2, 'cpu', CpuUsage),
  field(3, 'memory', MemoryUsage),
]);

export interface ContainerStatsResponse {
  readonly stats: ContainerStats | undefined;
}

export const ContainerStatsResponse: MessageType<ContainerStatsResponse> = message('runtime.v1.ContainerStatsResponse', () => [
  field(1, 'stats', ContainerStats),
]);

export interface NetworkInterfaceUsage {
  readonly name: string;
  readonly rxBytes: UInt64Value | undefined;
  readonly txBytes: UInt64Value | undefined;
}

export const NetworkInterfaceUsage: MessageType<NetworkInterfaceUsage> = message('runtime.v1.NetworkInterfaceUsage', () => [
  field(1, 'name', 'string'),
  field(2, 'rxBytes', UInt64Value),
  field(4, 'txBytes', UInt64Value),
]);

export interface NetworkUsage {
  readonly timestamp: bigint;
  readonly defaultInterface: NetworkInterfaceUsage | undefined;
  readonly interfaces: readonly NetworkInterfaceUsage[];
}

export const NetworkUsage: MessageType<NetworkUsage> = message('runtime.v1.NetworkUsage', () => [
  field(1, 'timestamp', 'int64'),
  field(2, 'defaultInterface', NetworkInterfaceUsage),
  repeated(3, 'interfaces', NetworkInterfaceUsage),
]);

export interface LinuxPodSandboxStats {
  readonly cpu: CpuUsage | undefined;
  readonly memory: MemoryUsage | undefined;
  readonly network: NetworkUsage | undefined;
  readonly containers: readonly ContainerStats[];
}

export const LinuxPodSandboxStats: MessageType<LinuxPodSandboxStats> = message('runtime.v1.LinuxPodSandboxStats', () => [
  field(1, 'cpu', CpuUsage),
  field(2, 'memory', MemoryUsage),
  field(3, 'network', NetworkUsage),
  repeated(5, 'containers', ContainerStats),
]);

export interface PodSandboxStats {
  readonly linux: LinuxPodSandboxStats | undefined;
}

export const PodSandboxStats: MessageType<PodSandboxStats> = message('runtime.v1.PodSandboxStats', () => [
  field(2, 'linux', LinuxPodSandboxStats),
]);

export interface PodSandboxStatsResponse {
  readonly stats: PodSandboxStats | undefined;
}

export const PodSandboxStatsResponse: MessageType<PodSandboxStatsResponse> = message('runtime.v1.PodSandboxStatsResponse', () => [
  field(1, 'stats', PodSandboxStats),
]);

export interface PullImageRequest {
  readonly image: ImageSpec | undefined;
}

export const PullImageRequest: MessageType<PullImageRequest> = message('runtime.v1.PullImageRequest', () => [
  field(1, 'image', ImageSpec),
]);

export interface PullImageResponse {
  readonly imageRef: string;
}

export const PullImageResponse: MessageType<PullImageResponse> = message('runtime.v1.PullImageResponse', () => [
  field(1, 'imageRef', 'string'),
]);

export interface Image {
  readonly id: string;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly size: bigint;
}

export const Image: MessageType<Image> = message('runtime.v1.Image', () => [
  field(1, 'id', 'string'),
  repeated(2, 'repoTags', 'string'),
  repeated(3, 'repoDigests', 'string'),
  field(4, 'size', 'uint64'),
]);

export interface ImageStatusRequest {
  readonly image: ImageSpec | undefined;
  readonly verbose: boolean;
}

export const ImageStatusRequest: MessageType<ImageStatusRequest> = message('runtime.v1.ImageStatusRequest', () => [
  field(1, 'image', ImageSpec),
  field(2, 'verbose', 'bool'),
]);

export interface ImageStatusResponse {
  readonly image: Image | undefined;
}

export const ImageStatusResponse: MessageType<ImageStatusResponse> = message('runtime.v1.ImageStatusResponse', () => [
  field(1, 'image', Image),
]);

export interface RemoveImageRequest {
  readonly image: ImageSpec | undefined;
}

export const RemoveImageRequest: MessageType<RemoveImageRequest> = message('runtime.v1.RemoveImageRequest', () => [
  field(1, 'image', ImageSpec),
]);

export const RuntimeService = service('runtime.v1.RuntimeService', {
  version: method('Version', VersionRequest, VersionResponse),
  status: method('Status', StatusRequest, StatusResponse),
  runPodSandbox: method('RunPodSandbox', RunPodSandboxRequest, RunPodSandboxResponse),
  stopPodSandbox: method('StopPodSandbox', PodSandboxRequest, Empty),
  removePodSandbox: method('RemovePodSandbox', PodSandboxRequest, Empty),
  podSandboxStatus: method('PodSandboxStatus', PodSandboxRequest, PodSandboxStatusResponse),
  listPodSandbox: method('ListPodSandbox', Empty, ListPodSandboxResponse),
  podSandboxStats: method('PodSandboxStats', PodSandboxRequest, PodSandboxStatsResponse),
  portForward: method('PortForward', PortForwardRequest, StreamResponse),
  createContainer: method('CreateContainer', CreateContainerRequest, CreateContainerResponse),
  startContainer: method('StartContainer', ContainerRequest, Empty),
  stopContainer: method('StopContainer', StopContainerRequest, Empty),
  removeContainer: method('RemoveContainer', ContainerRequest, Empty),
  listContainers: method('ListContainers', ListContainersRequest, ListContainersResponse),
  containerStatus: method('ContainerStatus', ContainerStatusRequest, ContainerStatusResponse),
  containerStats: method('ContainerStats', ContainerRequest, ContainerStatsResponse),
  updateContainerResources: method('UpdateContainerResources', UpdateContainerResourcesRequest, Empty),
  reopenContainerLog: method('ReopenContainerLog', ContainerRequest, Empty),
  execSync: method('ExecSync', ExecSyncRequest, ExecSyncResponse),
  exec: method('Exec', ExecRequest, StreamResponse),
  attach: method('Attach', AttachRequest, StreamResponse),
});

export const ImageService = service('runtime.v1.ImageService', {
  pullImage: method('PullImage', PullImageRequest, PullImageResponse),
  imageStatus: method('ImageStatus', ImageStatusRequest, ImageStatusResponse),
  removeImage: method('RemoveImage', RemoveImageRequest, Empty),
});
