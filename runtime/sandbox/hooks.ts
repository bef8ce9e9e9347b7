/**
 * Owns the hooks of one container: when they run, what they are told, and what becomes of one that fails (OCI runtime.md,
 * "Lifecycle"). Refuses to know how a program of the host is run.
 */
import type { CancelSignal } from '../../agent/protocol/cancel.ts';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { step } from '../host/step.ts';
import { type HookPoint, hasHooks } from '../oci/hooks.ts';
import type { Spec, SpecHook } from '../oci/spec.ts';
import type { Caller } from './config.ts';

/** The specification knows no limit without `timeout`; whoever waits for a Create does. */
const TIMEOUT_MS = 60_000;
/** Of a timer. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** A program to run on the host. */
interface HookCall {
  readonly path: string;
  /** With the program's name as the first, as execv takes them. */
  readonly args: readonly string[];
  /** All of its environment, NAME=value; undefined: what the runtime's own programs get. */
  readonly env: readonly string[] | undefined;
  readonly cwd: string;
  /** Its standard input: the state of the container, JSON. */
  readonly input: string;
  readonly timeoutMs: number;
  /** Ends it when nobody waits for what it prepares. */
  readonly signal: CancelSignal | undefined;
}

/** Runs one to its end. Rejects when it cannot be run, takes too long or ends with another status than 0. */
export type RunHook = (call: HookCall) => Promise<void>;

/** Whose hooks. */
export interface HookedContainer {
  readonly id: string;
  readonly bundle: string;
  readonly spec: Spec;
}

export class LifecycleHooks {
  readonly #container: HookedContainer;
  readonly #run: RunHook;
  #pid = 0;

  constructor(container: HookedContainer, run: RunHook) {
    this.#container = container;
    this.#run = run;
  }

  /** Runs those of a container that is being made; `pid` is in its network namespace. Rejects with the first failure. */
  async creating(pid: number, signal: CancelSignal | undefined): Promise<void> {
    this.#pid = pid;
    for (const point of ['prestart', 'createRuntime'] as const) await this.#all(point, 'creating', signal);
  }

  /** Runs those of a started container. Rejects with the first failure, after which it must not go on. */
  async started(): Promise<void> {
    await this.#all('poststart', 'running');
  }

  /** Runs those of a container that is gone, if any ran for its making. A failing one stops none; returns what failed. */
  async gone(): Promise<readonly TskataError[]> {
    const failures: TskataError[] = [];
    if (this.#pid === 0) return failures;
    for (const index of this.#of('poststop').keys()) {
      await this.#call('poststop', index, { status: 'stopped' }).catch((error) =>
        failures.push(TskataError.from(error)),
      );
    }
    return failures;
  }

  async #all(point: HookPoint, status: string, signal?: CancelSignal): Promise<void> {
    for (const index of this.#of(point).keys()) await this.#call(point, index, { status, pid: this.#pid }, signal);
  }

  #of(point: HookPoint): readonly SpecHook[] {
    return this.#container.spec.hooks?.[point] ?? [];
  }

  async #call(point: HookPoint, index: number, state: object, signal?: CancelSignal): Promise<void> {
    const { id, bundle, spec } = this.#container;
    const hook = this.#of(point)[index];
    if (hook === undefined) return;
    const { path, args = [path], env, timeout } = hook;
    const { ociVersion, annotations = {} } = spec;
    const input = JSON.stringify({ ociVersion, id, ...state, bundle, annotations });
    const timeoutMs = timeout === undefined ? TIMEOUT_MS : Math.min(timeout * 1_000, MAX_TIMEOUT_MS);
    const call = { path, args, env, cwd: bundle, input, timeoutMs, signal };
    await step(`hooks.${point}[${index}]`, () => this.#run(call));
  }
}

/**
 * Hooks are programs of the host with the rights of the runtime: containerd writes them into its bundles, but a bundle
 * from anywhere may not order them. Throws InvalidArgument.
 */
export function checkHooks(spec: Spec, caller: Caller): void {
  if (caller === 'containerd' || !hasHooks(spec)) return;
  throw new TskataError(
    Code.InvalidArgument,
    'hooks: programs to run on the host as root, which the command does not do for a bundle - remove them, or run it by containerd',
  );
}
