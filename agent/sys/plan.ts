/**
 * The spawn plan: everything that a new process does between clone and exec, as a flat list of data.
 *
 * TypeScript computes the list (policy, testable without root); `agent/native/spawn.c` interprets it (no policy).
 * No JavaScript runs in the child. A failing step is reported to the parent with its index and errno, so that the
 * step's `label` becomes the error message.
 */

/** A descriptor that an earlier step of the same plan opened, by slot number (0..63). */
export interface SlotRef {
  readonly slot: number;
}

/** An operand of a raw system call: integer, NUL-terminated UTF-8 string, buffer (its address), NULL, or a slot. */
export type Operand = number | string | Uint8Array | null | SlotRef;

/** A path operand or a descriptor that is already open. */
export type FileRef = string | SlotRef;

/** One step. `label` is the phrase of the error message: "mount proc on /proc". */
export type Step =
  /** One system call. Errnos in `ignore` count as success (the slot stays empty, reads as -1). */
  | {
      readonly op: 'call';
      readonly nr: number;
      readonly args: readonly Operand[];
      readonly result?: number;
      readonly ignore?: readonly number[];
      readonly label: string;
    }
  /** Opens `path` for writing (O_WRONLY|O_CLOEXEC plus `flags`), writes `bytes` in one write, closes. */
  | {
      readonly op: 'write';
      readonly path: string;
      readonly bytes: Uint8Array;
      readonly flags?: number;
      readonly ignore?: readonly number[];
      readonly label: string;
    }
  /**
   * Resolves `path` below `root` with RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS, makes what is missing (directories with
   * `mode`; the leaf is an empty file when `leaf` is 'file'), and keeps an O_PATH descriptor of the leaf in `result`.
   * `create: false` only resolves; with `optional` a missing path leaves slot -1.
   */
  | {
      readonly op: 'resolve';
      readonly root: SlotRef;
      readonly path: string;
      readonly leaf: 'directory' | 'file' | 'any';
      readonly create: boolean;
      readonly optional?: boolean;
      readonly mode: number;
      readonly result: number;
      readonly label: string;
    }
  /**
   * Tells the parent that this point is reached (with the descriptor number of `fd`, when given, so that the parent
   * can take it with pidfd_getfd) and waits for one byte from it. End of file instead of the byte ends the child.
   */
  | { readonly op: 'sync'; readonly name: string; readonly fd?: SlotRef; readonly label: string }
  /** Installs a seccomp filter made of `struct sock_filter` bytes. */
  | { readonly op: 'seccomp'; readonly filter: Uint8Array; readonly flags: number; readonly label: string }
  /** Descriptors 0, 1, 2, ... become the given ones; afterwards every other descriptor is close-on-exec. */
  | { readonly op: 'stdio'; readonly fds: readonly [SlotRef, SlotRef, SlotRef, ...SlotRef[]]; readonly label: string }
  /**
   * execve. `path` with a slash is used as it is, otherwise each directory of `searchPath` is tried (ENOENT and EACCES
   * go on to the next; EACCES wins over ENOENT at the end). Only success ends the list.
   */
  | {
      readonly op: 'exec';
      readonly path: string;
      readonly argv: readonly string[];
      readonly env: readonly string[];
      readonly searchPath: readonly string[];
      readonly label: string;
    }
  /** Ends the child with this status: for plans that only do file-system work and never exec. */
  | { readonly op: 'exit'; readonly status: number; readonly label: string };

/** A whole plan. */
export interface SpawnPlan {
  /** CLONE_NEW* flags for the child, besides the pidfd. */
  readonly cloneFlags: number;
  /** cgroup v2 directory descriptor to be born in (CLONE_INTO_CGROUP). */
  readonly cgroupFd?: number;
  /**
   * Namespace descriptors entered by an intermediate process before the clone (setns in order, pid namespaces
   * included); the child is still the caller's own child (CLONE_PARENT).
   */
  readonly enter?: readonly { readonly fd: number; readonly type: number }[];
  /**
   * Descriptors of the caller that are put into slots before the first step: slot -> fd. All others but 0, 1 and 2 are
   * closed in the child at once: a raw descriptor number in a `call` reaches nothing, use a slot.
   */
  readonly slots: Readonly<Record<number, number>>;
  readonly steps: readonly Step[];
}
