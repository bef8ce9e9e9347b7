/**
 * Owns the binding to the C module (`agent/native`): the only file that names the global that C installs. Knows no
 * policy. It cannot be imported on Node: tests use `recorder.ts`.
 */
import type { Loop, Sys } from './sys.ts';

/** What the C module installs as the global `tskataNative`, next to TextEncoder and TextDecoder. */
interface NativeModule extends Sys, Loop {
  readonly startedNs: bigint;
  readonly startedCpuNs: bigint;
  timerStart(delayMs: number, fire: () => void): number;
  timerCancel(id: number): void;
  setMemoryLimit(bytes: number): void;
  memoryUsed(): number;
  collectGarbage(): void;
  print(text: string): void;
}

declare const tskataNative: NativeModule;

/** The kernel. */
export const sys: Sys = tskataNative;

/** The event loop of this process. */
export const loop: Loop = {
  watch: (fd, events, ready) => tskataNative.watch(fd, events, ready),
  rewatch: (fd, events) => tskataNative.rewatch(fd, events),
  unwatch: (fd) => tskataNative.unwatch(fd),
  timer(delayMs, fire) {
    const id = tskataNative.timerStart(delayMs, fire);
    return () => tskataNative.timerCancel(id);
  },
  now: () => tskataNative.now(),
  run: (onError) => tskataNative.run(onError),
  stop: () => tskataNative.stop(),
};

/** The language engine: its start, its memory and its last words. */
export const engine = {
  /** CLOCK_BOOTTIME when the program's main was entered, before the engine was made. */
  startedNs: tskataNative.startedNs,
  /** CPU time of the process at its first instruction: not 0 for the first process, which was the kernel's before. */
  startedCpuNs: tskataNative.startedCpuNs,
  /** Bounds the engine's heap; beyond it an allocation throws "out of memory". */
  setMemoryLimit: (bytes: number): void => tskataNative.setMemoryLimit(bytes),
  /** Bytes of the heap in use. */
  memoryUsed: (): number => tskataNative.memoryUsed(),
  collectGarbage: (): void => tskataNative.collectGarbage(),
  /** Writes to stderr, blocking: for what must be said when nothing else works. */
  print: (text: string): void => tskataNative.print(text),
} as const;
