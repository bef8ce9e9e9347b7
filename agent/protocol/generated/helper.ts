// Generated from agent/protocol/proto/helper.proto by `npm run proto`. Do not edit.
import { field, message, optional, repeated, type MessageType } from '../message.ts';
import { method, service } from '../service.ts';

export type Empty = Readonly<Record<never, never>>;

export const Empty: MessageType<Empty> = message('tskata.helper.v1.Empty', () => []);

export interface SpawnRequest {
  /** Unique in the helper: "qemu", "virtiofsd-0", "usernet". */
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
  /** dev/vhost-net, opened. */
  readonly vhostNet: boolean | undefined;
  /** dev/vhost-vsock with the address of ClaimVsock. */
  readonly vhostVsock: boolean | undefined;
  /** A vsock stream socket, not connected, that comes from a port which only root may take. */
  readonly vsockSocket: boolean | undefined;
}

export const Descriptor: MessageType<Descriptor> = message('tskata.helper.v1.Descriptor', () => [
  field(1, 'inherited', 'string', 'source'),
  field(2, 'file', OpenFile, 'source'),
  field(3, 'pair', 'string', 'source'),
  field(4, 'listen', 'string', 'source'),
  field(5, 'connect', 'string', 'source'),
  field(6, 'tap', 'string', 'source'),
  field(7, 'accept', 'string', 'source'),
  field(8, 'vhostNet', 'bool', 'source'),
  field(9, 'vhostVsock', 'bool', 'source'),
  field(10, 'vsockSocket', 'bool', 'source'),
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
  /** "bind" or "overlay". */
  readonly type: string;
  readonly source: string;
  /** An existing directory or regular file; never a symbolic link in its last step. */
  readonly target: string;
  readonly options: readonly string[];
  /** st_dev and inode number that a bound source must have when it is opened; inode 0: any. */
  readonly device: bigint;
  readonly inode: bigint;
  /** Owners of a bind; absent: as they are. */
  readonly idMap: MountIdMap | undefined;
}

export const MountRequest: MessageType<MountRequest> = message('tskata.helper.v1.MountRequest', () => [
  field(1, 'type', 'string'),
  field(2, 'source', 'string'),
  field(3, 'target', 'string'),
  repeated(4, 'options', 'string'),
  field(5, 'device', 'uint64'),
  field(6, 'inode', 'uint64'),
  field(7, 'idMap', MountIdMap),
]);

/** MOUNT_ATTR_IDMAP of mount_setattr(2). */
export interface MountIdMap {
  /** Of the mounts below as well. */
  readonly recursive: boolean;
  readonly uidMappings: readonly IdRange[];
  readonly gidMappings: readonly IdRange[];
}

export const MountIdMap: MessageType<MountIdMap> = message('tskata.helper.v1.MountIdMap', () => [
  field(1, 'recursive', 'bool'),
  repeated(2, 'uidMappings', IdRange),
  repeated(3, 'gidMappings', IdRange),
]);

/** Ids of the source's file system that others see as ids from `host_id` on: a line of /proc/PID/uid_map. */
export interface IdRange {
  readonly containerId: number;
  readonly hostId: number;
  readonly size: number;
}

export const IdRange: MessageType<IdRange> = message('tskata.helper.v1.IdRange', () => [
  field(1, 'containerId', 'uint32'),
  field(2, 'hostId', 'uint32'),
  field(3, 'size', 'uint32'),
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

/** Addresses in text form, "10.0.0.1", ranges with prefix length, "10.0.0.1/24". */
export interface NetworkState {
  readonly links: readonly NetworkLink[];
  readonly addresses: readonly NetworkAddress[];
  /** Unicast routes of all tables. */
  readonly routes: readonly NetworkRoute[];
  /** Permanent ones. */
  readonly neighbors: readonly NetworkNeighbor[];
}

export const NetworkState: MessageType<NetworkState> = message('tskata.helper.v1.NetworkState', () => [
  repeated(1, 'links', NetworkLink),
  repeated(2, 'addresses', NetworkAddress),
  repeated(3, 'routes', NetworkRoute),
  repeated(4, 'neighbors', NetworkNeighbor),
]);

export interface NetworkLink {
  readonly index: number;
  readonly name: string;
  /** Empty when it has none. */
  readonly mac: string;
  readonly mtu: number;
  /** IFF_* bits. */
  readonly flags: number;
  /** ARPHRD_* number: 1 Ethernet. */
  readonly type: number;
  /** "veth", "bridge", "tun"; empty for hardware. */
  readonly kind: string;
  /** Index of the bridge that it is a port of; 0: none. */
  readonly master: number;
}

export const NetworkLink: MessageType<NetworkLink> = message('tskata.helper.v1.NetworkLink', () => [
  field(1, 'index', 'uint32'),
  field(2, 'name', 'string'),
  field(3, 'mac', 'string'),
  field(4, 'mtu', 'uint32'),
  field(5, 'flags', 'uint32'),
  field(6, 'type', 'uint32'),
  field(7, 'kind', 'string'),
  field(8, 'master', 'uint32'),
]);

export interface NetworkAddress {
  readonly index: number;
  readonly address: string;
  /** RT_SCOPE_* number. */
  readonly scope: number;
  /** IFA_F_* bits. */
  readonly flags: number;
}

export const NetworkAddress: MessageType<NetworkAddress> = message('tskata.helper.v1.NetworkAddress', () => [
  field(1, 'index', 'uint32'),
  field(2, 'address', 'string'),
  field(3, 'scope', 'uint32'),
  field(4, 'flags', 'uint32'),
]);

export interface NetworkRoute {
  /** 4 or 6. */
  readonly family: number;
  /** Empty: the default route. */
  readonly destination: string;
  readonly gateway: string;
  /** Index of the interface; 0: several, or none. */
  readonly index: number;
  readonly source: string;
  readonly scope: number;
  readonly metric: number;
  readonly onlink: boolean;
  readonly table: number;
  /** RTPROT_* number: 2 the kernel's own, 9 learned from a router. */
  readonly protocol: number;
  /** Bytes of the largest packet on the way; 0: the interface's. */
  readonly mtu: number;
}

export const NetworkRoute: MessageType<NetworkRoute> = message('tskata.helper.v1.NetworkRoute', () => [
  field(1, 'family', 'uint32'),
  field(2, 'destination', 'string'),
  field(3, 'gateway', 'string'),
  field(4, 'index', 'uint32'),
  field(5, 'source', 'string'),
  field(6, 'scope', 'uint32'),
  field(7, 'metric', 'uint32'),
  field(8, 'onlink', 'bool'),
  field(9, 'table', 'uint32'),
  field(10, 'protocol', 'uint32'),
  field(11, 'mtu', 'uint32'),
]);

export interface NetworkNeighbor {
  readonly index: number;
  readonly address: string;
  readonly mac: string;
}

export const NetworkNeighbor: MessageType<NetworkNeighbor> = message('tskata.helper.v1.NetworkNeighbor', () => [
  field(1, 'index', 'uint32'),
  field(2, 'address', 'string'),
  field(3, 'mac', 'string'),
]);

export interface CarryInterfaceRequest {
  readonly index: number;
}

export const CarryInterfaceRequest: MessageType<CarryInterfaceRequest> = message('tskata.helper.v1.CarryInterfaceRequest', () => [
  field(1, 'index', 'uint32'),
]);

export interface CarryInterfaceResponse {
  /** Name of the tap. */
  readonly tap: string;
}

export const CarryInterfaceResponse: MessageType<CarryInterfaceResponse> = message('tskata.helper.v1.CarryInterfaceResponse', () => [
  field(1, 'tap', 'string'),
]);

export interface DropInterfaceRequest {
  readonly index: number;
}

export const DropInterfaceRequest: MessageType<DropInterfaceRequest> = message('tskata.helper.v1.DropInterfaceRequest', () => [
  field(1, 'index', 'uint32'),
]);

export interface AddTapRequest {
  /** QEMU's id of the back end. */
  readonly netdev: string;
  readonly tap: string;
  /** With /dev/vhost-net. */
  readonly vhost: boolean;
}

export const AddTapRequest: MessageType<AddTapRequest> = message('tskata.helper.v1.AddTapRequest', () => [
  field(1, 'netdev', 'string'),
  field(2, 'tap', 'string'),
  field(3, 'vhost', 'bool'),
]);

export interface EnterGroupRequest {
  /** Absolute, below the root of each hierarchy: "/kubepods/pod1/sandbox1". */
  readonly path: string;
  readonly limits: GroupLimits | undefined;
  /** The groups above are nobody else's: they go when they are empty. */
  readonly ownParents: boolean;
}

export const EnterGroupRequest: MessageType<EnterGroupRequest> = message('tskata.helper.v1.EnterGroupRequest', () => [
  field(1, 'path', 'string'),
  field(2, 'limits', GroupLimits),
  field(3, 'ownParents', 'bool'),
]);

/** What is absent is left as it is. */
export interface GroupLimits {
  readonly memoryBytes: bigint | undefined;
  /** Shares of cgroup v1: 2 to 262144. */
  readonly cpuShares: bigint | undefined;
  /** Microseconds of each 100 ms; -1: no limit. */
  readonly cpuQuotaUs: bigint | undefined;
  readonly pids: bigint | undefined;
  /** Of the host, "0-3,7"; empty: as they are; "inherit": all that the parent has. */
  readonly cpusetCpus: string;
  readonly cpusetMems: string;
  readonly throttles: readonly GroupThrottle[];
}

export const GroupLimits: MessageType<GroupLimits> = message('tskata.helper.v1.GroupLimits', () => [
  optional(1, 'memoryBytes', 'uint64'),
  optional(2, 'cpuShares', 'uint64'),
  optional(3, 'cpuQuotaUs', 'int64'),
  optional(4, 'pids', 'uint64'),
  field(5, 'cpusetCpus', 'string'),
  field(6, 'cpusetMems', 'string'),
  repeated(7, 'throttles', GroupThrottle),
]);

export interface GroupThrottle {
  /** "rbps", "wbps", "riops" or "wiops". */
  readonly kind: string;
  /** Block device of the host. */
  readonly major: bigint;
  readonly minor: bigint;
  /** Per second; 0: no limit. */
  readonly rate: bigint;
}

export const GroupThrottle: MessageType<GroupThrottle> = message('tskata.helper.v1.GroupThrottle', () => [
  field(1, 'kind', 'string'),
  field(2, 'major', 'int64'),
  field(3, 'minor', 'int64'),
  field(4, 'rate', 'uint64'),
]);

export interface GroupAnswer {
  /** Control files that this host does not have: their limits do not hold. */
  readonly missing: readonly string[];
}

export const GroupAnswer: MessageType<GroupAnswer> = message('tskata.helper.v1.GroupAnswer', () => [
  repeated(1, 'missing', 'string'),
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

export interface ClaimVsockResponse {
  readonly cid: number;
}

export const ClaimVsockResponse: MessageType<ClaimVsockResponse> = message('tskata.helper.v1.ClaimVsockResponse', () => [
  field(1, 'cid', 'uint32'),
]);

export interface StartStandInRequest {
  /** Unique in the helper, as that of Spawn. */
  readonly name: string;
  /** What the process list shows: the container's id. */
  readonly title: string;
  /** Network namespace to enter when none was opened yet; empty: a new one. */
  readonly networkPath: string;
}

export const StartStandInRequest: MessageType<StartStandInRequest> = message('tskata.helper.v1.StartStandInRequest', () => [
  field(1, 'name', 'string'),
  field(2, 'title', 'string'),
  field(3, 'networkPath', 'string'),
]);

export const Helper = service('tskata.helper.v1.Helper', {
  /** Starts a confined program as a child of the helper. */
  spawn: method('Spawn', SpawnRequest, SpawnResponse),
  signal: method('Signal', SignalRequest, Empty),
  /** Answers when the program has ended, and forgets it. */
  wait: method('Wait', WaitRequest, WaitResponse),
  /** Opens a file and hands its descriptor to QEMU over the second QMP monitor, as /dev/fdset/N. */
  addDescriptor: method('AddDescriptor', AddDescriptorRequest, Empty),
  /** Mounts and unmounts in the helper's mount namespace; undone by the helper's end. */
  mount: method('Mount', MountRequest, Empty),
  unmount: method('Unmount', UnmountRequest, Empty),
  /** A network namespace that lives as long as the helper, or the one at a path. */
  openNetwork: method('OpenNetwork', OpenNetworkRequest, OpenNetworkResponse),
  /** Undoes everything in that namespace, and forgets it. */
  closeNetwork: method('CloseNetwork', Empty, Empty),
  /** What is in the sandbox's network namespace now. */
  readNetwork: method('ReadNetwork', Empty, NetworkState),
  /** Answers once the network has changed since the last ReadNetwork, and has been quiet for a moment. */
  waitNetworkChange: method('WaitNetworkChange', Empty, Empty),
  /** Makes a tap to which all packets of an interface of that namespace go, and back; a Descriptor names it. */
  carryInterface: method('CarryInterface', CarryInterfaceRequest, CarryInterfaceResponse),
  /** Forgets the tap of an interface and redirects nothing any more. An interface that is gone is fine. */
  dropInterface: method('DropInterface', DropInterfaceRequest, Empty),
  /** Gives a carried tap to the running QEMU over the second QMP monitor, as a network back end of that id. */
  addTap: method('AddTap', AddTapRequest, Empty),
  /**
   * Listens for every TCP connection to a loopback address of that namespace. The listening socket goes to the shim as a
   * handle of Node's, with the message {"name": "loopback"}.
   */
  listenLoopback: method('ListenLoopback', Empty, Empty),
  /**
   * Makes a cgroup of the host and moves the helper and its shim in; what is started later is born there. Undone at the
   * end.
   */
  enterGroup: method('EnterGroup', EnterGroupRequest, GroupAnswer),
  /** Changes its limits. */
  limitGroup: method('LimitGroup', GroupLimits, GroupAnswer),
  /** Copies a sparse file, holes kept. */
  copySparse: method('CopySparse', CopySparseRequest, Empty),
  /** Starts a process that does nothing but exist in the sandbox's network namespace: the host's stand-in for a container. */
  startStandIn: method('StartStandIn', StartStandInRequest, SpawnResponse),
  /** Takes a free user id of a range for as long as the helper lives. */
  claimUser: method('ClaimUser', ClaimUserRequest, ClaimUserResponse),
  /** Takes a vsock address that no other machine of this host has, for as long as the helper lives. Once. */
  claimVsock: method('ClaimVsock', Empty, ClaimVsockResponse),
});
