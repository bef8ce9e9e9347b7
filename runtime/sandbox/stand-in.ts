/**
 * Owns what the sandbox sees of a stand-in: a process of the host whose number is the container's, alive as long as the
 * container is. Refuses to know who starts it.
 */
import type { Spec } from '../oci/spec.ts';
import { networkNamespace } from './network-mode.ts';

/** A living stand-in. */
export interface StandIn {
  readonly pid: number;
  /** Resolves when it has ended; true: by itself, as when somebody killed it. Never rejects. */
  readonly ended: Promise<boolean>;
  /** Ends it; resolves when it is gone. Never rejects. Idempotent. */
  end(): Promise<void>;
}

/** Starts one for a container; `networkPath` is the network namespace of its configuration, empty for none. */
export type StartStandIn = (containerId: string, networkPath: string) => Promise<StandIn>;

/** Path of the network namespace that a configuration names; empty: it asks for a new one, or for none. */
export function networkPathOf(spec: Spec): string {
  return networkNamespace(spec) ?? '';
}
