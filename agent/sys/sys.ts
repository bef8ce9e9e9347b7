/**
 * The one interface through which the agent and the native host programs reach the kernel.
 *
 * `native.ts` implements it over the C module, `recorder.ts` for tests on Node. Numbers, flags and struct layouts are
 * in `linux.ts`; nothing here knows what a container is. Calls return -errno as the kernel does: `check` in
 * `errors.ts` turns that into a `SysError`.
 */
import type { SpawnPlan } from './plan.ts';

/** An operand of `call`: integer, NUL-terminated UTF-8 string, buffer (its address), bigint (64 bits), or NULL. */
export type SysArg = number | bigint | string | ArrayBuffer | Uint8Array | null;

/** A child that `spawn` made. */
export interface SpawnedChild {
  readonly pid: number;
  readonly pidfd: number;
  /**
   * Our end of a SOCK_SEQPACKET pair (non-blocking, close-on-exec). One packet per event, four little-endian int32:
   * kind (1 sync, 2 failed), step index, errno, descriptor number in the child (-1 if none). End of file after the
   * exec succeeded or the child ended. A byte written to it releases the child from a `sync`.
   */
  readonly statusFd: number;
}

/** A libseccomp rule in the kernel's own terms; syscall and architecture names as libseccomp spells them. */
export interface SeccompRule {
  readonly names: readonly string[];
  /** SCMP_ACT_* value, errno already included. */
  readonly action: number;
  readonly args: readonly {
    readonly index: number;
    readonly op: number;
    readonly value: bigint;
    readonly valueTwo: bigint;
  }[];
}

/** A whole filter: default action, extra architectures, rules. Unknown syscall names are skipped, as runc does. */
export interface SeccompSource {
  readonly defaultAction: number;
  /**
   * SCMP_ACT_* value for calls with a number above every named one: calls of a later time than the filter. Missing: the
   * default action. ENOSYS lets a C library fall back to the call that it used before.
   */
  readonly unknownAction?: number;
  readonly architectures: readonly string[];
  readonly rules: readonly SeccompRule[];
}

export interface Sys {
  /** One system call. Returns its result, or -errno. Must not be used for calls that can block for long in PID 1. */
  call(nr: number, ...args: readonly SysArg[]): number;
  /** read(2) into a part of a buffer: bytes read, 0 at the end, or -errno. */
  read(fd: number, buffer: Uint8Array, offset: number, length: number): number;
  /** write(2) from a part of a buffer: bytes written, or -errno. */
  write(fd: number, buffer: Uint8Array, offset: number, length: number): number;
  /** writev(2) of two parts, so that a header needs no copy: bytes written, or -errno. */
  write2(fd: number, first: Uint8Array, second: Uint8Array): number;
  /**
   * readv(2) into a part of a buffer that is cut into pieces: for a device that gives at most one piece in a read, as
   * much as it has. Bytes read, 0 at the end, or -errno.
   */
  readPieces(fd: number, buffer: Uint8Array, offset: number, length: number, pieceBytes: number): number;
  /** writev(2) from a part of a buffer that is cut into pieces, as `readPieces`. Bytes written, or -errno. */
  writePieces(fd: number, buffer: Uint8Array, offset: number, length: number, pieceBytes: number): number;
  /** Address of a buffer's first byte, for structures that hold pointers. The caller keeps the buffer alive. */
  address(buffer: Uint8Array): bigint;
  /** Compiles a filter to `struct sock_filter` bytes with libseccomp. Returns -errno on failure. */
  seccompCompile(source: SeccompSource): Uint8Array | number;
  /** Starts a child that interprets the plan. Returns -errno when no child came to be. */
  spawn(plan: SpawnPlan): SpawnedChild | number;
  /** argv of this program, argv[0] included. */
  readonly argv: readonly string[];
  /** Environment of this program, as NAME=value. */
  readonly environ: readonly string[];
  /** Ends this process at once. */
  exit(status: number): never;
}

/** What the loop watches for: EPOLLIN 1, EPOLLOUT 4, EPOLLERR 8, EPOLLHUP 16, EPOLLRDHUP 0x2000. */
export interface Loop {
  /** Calls `ready` (level-triggered) with the events until `unwatch`. */
  watch(fd: number, events: number, ready: (events: number) => void): void;
  /** Changes the events of a watched descriptor. 0 keeps it registered for errors and hang-up only. */
  rewatch(fd: number, events: number): void;
  unwatch(fd: number): void;
  /** Runs `fire` once after `delayMs`. Returns a cancel function. */
  timer(delayMs: number, fire: () => void): () => void;
  /** Monotonic milliseconds. */
  now(): number;
  /** Runs until `stop`. Promise jobs run after each callback. An error thrown by a callback goes to `onError`. */
  run(onError: (error: unknown) => void): void;
  stop(): void;
}
