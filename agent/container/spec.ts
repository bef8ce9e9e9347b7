/**
 * Owns the agent's own types of a container: what the messages of the contract become once they are checked, and what
 * later code trusts. Knows no message and no kernel call. Names follow the OCI runtime specification.
 */
import type { SchedAttr } from '../sys/structs.ts';

/** Namespaces that the specification names. */
export type NamespaceName = 'mount' | 'pid' | 'network' | 'ipc' | 'uts' | 'user' | 'cgroup' | 'time';

export interface IdMapping {
  readonly containerId: number;
  readonly hostId: number;
  readonly size: number;
}

export interface Mount {
  /** Absolute, in the container. */
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
  /** Of binds: where the source is in the guest, a path that the agent made itself. */
  readonly storagePath?: string;
  /** Of binds: below that, relative, without "..". */
  readonly subpath: string;
  readonly isFile: boolean;
}

export interface Device {
  readonly type: 'c' | 'b' | 'p';
  readonly path: string;
  readonly major: number;
  readonly minor: number;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A file that the agent made, bound read-write over a file of the container. */
export interface BoundFile {
  readonly destination: string;
  /** In the guest, made by the agent. */
  readonly path: string;
}

export interface Rlimit {
  readonly type: string;
  readonly soft: bigint;
  readonly hard: bigint;
}

/** Capability names with their prefix: "CAP_CHOWN". */
export interface Capabilities {
  readonly bounding: readonly string[];
  readonly effective: readonly string[];
  readonly inheritable: readonly string[];
  readonly permitted: readonly string[];
  readonly ambient: readonly string[];
}

/** Who a process is, after the look-up of names. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

export interface SeccompArg {
  readonly index: number;
  readonly value: bigint;
  readonly valueTwo: bigint;
  readonly op: string;
}

interface SeccompSyscall {
  readonly names: readonly string[];
  readonly action: string;
  readonly errno?: number;
  readonly args: readonly SeccompArg[];
}

export interface Seccomp {
  readonly defaultAction: string;
  readonly defaultErrno?: number;
  readonly architectures: readonly string[];
  readonly flags: readonly string[];
  readonly syscalls: readonly SeccompSyscall[];
}

/** Class and level of ioprio_set(2). */
export interface IoPriority {
  readonly ioClass: number;
  readonly level: number;
}

/** A process as the host asks for it; `username` is not yet looked up. */
export interface ProcessSpec {
  readonly terminal: boolean;
  readonly rows: number;
  readonly columns: number;
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  readonly umask?: number;
  /** "user[:group]", or empty. */
  readonly username: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly capabilities: Capabilities;
  readonly rlimits: readonly Rlimit[];
  readonly noNewPrivileges: boolean;
  readonly oomScoreAdj: number;
  readonly scheduler?: SchedAttr;
  readonly ioPriority?: IoPriority;
  /** Argument of personality(2); 0 is an ordinary process. */
  readonly personality: number;
}

/** A container as the host asks for it. */
export interface ContainerSpec {
  readonly process: ProcessSpec;
  readonly rootReadonly: boolean;
  readonly hostname: string;
  readonly domainname: string;
  readonly mounts: readonly Mount[];
  readonly namespaces: readonly NamespaceName[];
  /** Container whose pid namespace this one joins; empty: none. */
  readonly pidNamespaceOf: string;
  readonly uidMappings: readonly IdMapping[];
  readonly gidMappings: readonly IdMapping[];
  readonly devices: readonly Device[];
  readonly seccomp?: Seccomp;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly sysctls: ReadonlyMap<string, string>;
  readonly rootfsPropagation: string;
}
