/**
 * What a person asked for with `tskata run`, parsed and checked, before it becomes an OCI configuration. Plain values:
 * nothing here touches the host.
 */

/** The parts of an image's configuration that a container starts from (OCI image spec, config.md). */
export interface ImageDefaults {
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  readonly user: string;
  readonly stopSignal: string;
}

/** A host directory or file in the container. */
export interface VolumeRequest {
  readonly source: string;
  readonly destination: string;
  readonly readOnly: boolean;
  /** "", or a propagation option of mount: "rslave". */
  readonly propagation: string;
}

export interface TmpfsRequest {
  readonly destination: string;
  /** Mount options as given: "size=64m", "mode=1777". */
  readonly options: readonly string[];
}

export interface UlimitRequest {
  /** "RLIMIT_NOFILE". */
  readonly type: string;
  readonly soft: number;
  readonly hard: number;
}

/** A TCP port of the host that leads into the container. */
export interface PublishRequest {
  readonly hostIp: string;
  readonly hostPort: number;
  readonly containerPort: number;
}

/** Where a seccomp filter comes from. */
export type SeccompRequest =
  | { readonly kind: 'default' }
  | { readonly kind: 'unconfined' }
  | { readonly kind: 'file'; readonly profile: unknown; readonly file: string };

/** The network of a container's machine. */
export interface NetworkRequest {
  readonly network: 'none' | 'user';
  readonly publish: readonly PublishRequest[];
  /** Addresses of name servers; empty for the host's. */
  readonly dns: readonly string[];
}

/** Everything that `tskata run` can say about the container. */
export interface ContainerRequest extends NetworkRequest {
  readonly id: string;
  readonly name: string;
  readonly image: ImageDefaults;
  /** Replaces the image's entrypoint; undefined keeps it. */
  readonly entrypoint?: readonly string[];
  readonly command: readonly string[];
  readonly env: readonly string[];
  readonly workingDir?: string;
  readonly user?: string;
  readonly hostname?: string;
  readonly terminal?: { readonly rows: number; readonly columns: number };
  readonly volumes: readonly VolumeRequest[];
  readonly tmpfs: readonly TmpfsRequest[];
  readonly readOnlyRoot: boolean;
  readonly capAdd: readonly string[];
  readonly capDrop: readonly string[];
  readonly privileged: boolean;
  readonly noNewPrivileges: boolean;
  readonly seccomp: SeccompRequest;
  /** CPUs, fractions allowed. */
  readonly cpus?: number;
  readonly memoryBytes?: number;
  readonly pidsLimit?: number;
  readonly ulimits: readonly UlimitRequest[];
  readonly sysctls: Readonly<Record<string, string>>;
  readonly shmSizeBytes: number;
  readonly annotations: Readonly<Record<string, string>>;
}
