/**
 * Owns the kernel of the unit tests: a `Sys` that runs on Node, records what it is asked and plays prepared answers. It
 * simulates nothing: a test says what each call answers.
 */
import type { SpawnPlan } from './plan.ts';
import type { SeccompSource, SpawnedChild, Sys, SysArg } from './sys.ts';
import { SYS } from './syscalls.ts';

const names = new Map<number, string>(Object.entries(SYS).map(([name, number]) => [number, name]));

/** One recorded call; buffers are copies from the moment of the call. */
export interface RecordedCall {
  /** Name of the system call, or "read", "write", "write2", "spawn", "seccompCompile". */
  readonly name: string;
  readonly args: readonly unknown[];
}

/** Answers a call: its result, or -errno. May fill buffers among the arguments. */
export type Answer = number | ((args: readonly SysArg[]) => number);

/** A `Sys` that records. Calls without an answer return 0; spawn returns -ENOSYS unless `onSpawn` is set. */
export class RecorderSys implements Sys {
  readonly calls: RecordedCall[] = [];
  readonly plans: SpawnPlan[] = [];
  readonly argv: readonly string[];
  readonly environ: readonly string[];
  onSpawn: (plan: SpawnPlan) => SpawnedChild | number = () => -38;
  onRead: (fd: number, buffer: Uint8Array, offset: number, length: number) => number = () => 0;
  onWrite: (fd: number, bytes: Uint8Array) => number = (_fd, bytes) => bytes.length;
  onSeccomp: (source: SeccompSource) => Uint8Array | number = () => new Uint8Array(8);
  readonly #answers = new Map<string, Answer[]>();
  readonly #defaults = new Map<string, Answer>();
  #addresses = 0x1000n;

  constructor(argv: readonly string[] = ['program'], environ: readonly string[] = []) {
    this.argv = argv;
    this.environ = environ;
  }

  /** Prepares the next answers of a system call, in order. */
  answer(name: keyof typeof SYS, ...answers: readonly Answer[]): this {
    this.#answers.set(name, [...(this.#answers.get(name) ?? []), ...answers]);
    return this;
  }

  /** What a system call answers when nothing else is prepared. */
  answerAlways(name: keyof typeof SYS, answer: Answer): this {
    this.#defaults.set(name, answer);
    return this;
  }

  /** Names of the recorded calls, in order. */
  get names(): string[] {
    return this.calls.map((call) => call.name);
  }

  call(nr: number, ...args: readonly SysArg[]): number {
    const name = names.get(nr) ?? `syscall ${nr}`;
    this.#record(name, args);
    const answer = this.#answers.get(name)?.shift() ?? this.#defaults.get(name) ?? 0;
    return typeof answer === 'number' ? answer : answer(args);
  }

  read(fd: number, buffer: Uint8Array, offset: number, length: number): number {
    this.#record('read', [fd, length]);
    return this.onRead(fd, buffer, offset, length);
  }

  write(fd: number, buffer: Uint8Array, offset: number, length: number): number {
    const bytes = buffer.slice(offset, offset + length);
    this.#record('write', [fd, bytes]);
    return this.onWrite(fd, bytes);
  }

  readPieces(fd: number, buffer: Uint8Array, offset: number, length: number, _pieceBytes: number): number {
    return this.read(fd, buffer, offset, length);
  }

  writePieces(fd: number, buffer: Uint8Array, offset: number, length: number, _pieceBytes: number): number {
    return this.write(fd, buffer, offset, length);
  }

  write2(fd: number, first: Uint8Array, second: Uint8Array): number {
    const bytes = new Uint8Array(first.length + second.length);
    bytes.set(first);
    bytes.set(second, first.length);
    this.#record('write2', [fd, bytes]);
    return this.onWrite(fd, bytes);
  }

  /** A made-up address, another one for each call. */
  address(): bigint {
    this.#addresses += 0x1000n;
    return this.#addresses;
  }

  seccompCompile(source: SeccompSource): Uint8Array | number {
    this.#record('seccompCompile', [source]);
    return this.onSeccomp(source);
  }

  spawn(plan: SpawnPlan): SpawnedChild | number {
    this.plans.push(plan);
    this.#record('spawn', [plan]);
    return this.onSpawn(plan);
  }

  exit(status: number): never {
    throw new Error(`exit ${status}`);
  }

  #record(name: string, args: readonly unknown[]): void {
    this.calls.push({ name, args: args.map((arg) => (arg instanceof Uint8Array ? arg.slice() : arg)) });
  }
}
