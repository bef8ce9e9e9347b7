/**
 * Where QEMU and its companions run, seen from here: something that starts confined programs, gives them descriptors,
 * and ends them all when it ends. The native helper of the sandbox is one; tests have a plain one. It knows no QEMU.
 */
import type { Duplex } from 'node:stream';

/** The sockets that children inherit; our ends are streams. */
export const INHERITED = ['qmp', 'control', 'bytes', 'console', 'stderr'] as const;
export type InheritedName = (typeof INHERITED)[number];

/** A descriptor of a child. */
export type ChildDescriptor =
  | { readonly kind: 'inherited'; readonly name: string }
  | { readonly kind: 'file'; readonly path: string; readonly writable: boolean }
  /** One end of a socket pair whose other end another child names. */
  | { readonly kind: 'pair'; readonly name: string }
  /** A listening unix socket bound at this path. */
  | { readonly kind: 'listen'; readonly path: string }
  | { readonly kind: 'connect'; readonly path: string }
  /** A tap of the sandbox's network, made when there is none of this name. */
  | { readonly kind: 'tap'; readonly name: string }
  /** /dev/vhost-net, opened: the kernel's own back end of a network card. */
  | { readonly kind: 'vhost-net' }
  /** /dev/vhost-vsock with the claimed address. */
  | { readonly kind: 'vhost-vsock' }
  /** A vsock socket that the guest recognizes as ours. */
  | { readonly kind: 'vsock-socket' };

/** A path of the host that a child sees. */
export interface ChildBind {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  /** A device node that must stay usable. */
  readonly device?: boolean;
  /** Mounts below the source come along. */
  readonly recursive?: boolean;
  /** Programs and libraries below it may be run. */
  readonly executable?: boolean;
}

/** What a child may. */
export interface ChildJail {
  /** Its root is empty but for these. */
  readonly binds: readonly ChildBind[];
  /** 'none': an empty network namespace of its own; 'sandbox': the sandbox's. */
  readonly network: 'none' | 'sandbox';
  /** A /proc that shows only the child itself. */
  readonly proc: boolean;
  readonly newPidNamespace: boolean;
  /** Runs as root with only these capabilities; with none it runs as the sandbox's own user. */
  readonly keepCapabilities: readonly string[];
  /** Host groups that the child needs, for /dev/kvm. */
  readonly additionalGids: readonly number[];
  /** Files that it may hold open, if more than a program usually may. */
  readonly maxOpenFiles?: number;
}

/** A program to start. */
export interface ChildSpec {
  /** Unique in the host: "qemu", "virtiofsd-0". */
  readonly name: string;
  readonly executable: string;
  /** Without the program's own name. */
  readonly args: readonly string[];
  /** From descriptor 3 on, in this order. */
  readonly descriptors: readonly ChildDescriptor[];
  /** Inherited socket that becomes standard output and error; none: the process host's own log. */
  readonly log?: InheritedName;
  readonly jail: ChildJail;
}

/** A started program. */
export interface Child {
  /** In the host's PID namespace. */
  readonly pid: number;
  /** Settles with the exit code, or 128 + n for signal n. Never rejects: with -1 when the host of processes died. */
  readonly exited: Promise<number>;
  signal(signal: number): Promise<void>;
}

/** Starts and ends programs. */
export interface ProcessHost {
  /** Our end of an inherited socket. Valid once the child that inherits it was started. */
  socket(name: InheritedName): Duplex;
  spawn(spec: ChildSpec): Promise<Child>;
  /** Opens a file and puts it into a set of descriptors of the running QEMU. */
  addDescriptor(fdset: number, path: string, writable: boolean): Promise<void>;
  /** Makes a network back end of the running QEMU from a tap of the sandbox's network; `vhost`: the kernel's own. */
  addTap(netdev: string, tap: string, vhost: boolean): Promise<void>;
  /** Copies a file with its holes. */
  copySparse(source: string, target: string): Promise<void>;
  /** A vsock address for a machine that no other one on this host has, until the host of processes ends. Once. */
  claimVsock(): Promise<number>;
  /** Starts what connects the sockets `control` and `bytes` with the agent behind that address, as soon as it listens. */
  relayVsock(cid: number): Promise<Child>;
  /** User that children without capabilities run as; files they must write belong to it. */
  readonly uid: number;
  /** Settles with the reason when the host itself has ended. Never rejects. */
  readonly ended: Promise<string>;
  /** Ends every child and the host, and waits until they are gone. Idempotent. */
  close(): Promise<void>;
}

/** Makes the process host of one machine. */
export type ProcessHostFactory = () => Promise<ProcessHost>;
