/**
 * Owns the choice of a sandbox's network from its first container's configuration: what an annotation says, or the
 * network namespace that somebody made for it, or none. Refuses the host's own.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { NETWORK } from '../oci/annotations.ts';
import type { Spec } from '../oci/spec.ts';
import type { Caller, NetworkOptions, SandboxOptions } from './config.ts';

/** Path of the network namespace that a configuration names; empty: it asks for a new one. Undefined: for none. */
export function networkNamespace(spec: Spec): string | undefined {
  const entry = spec.linux?.namespaces?.find((namespace) => namespace.type === 'network');
  return entry === undefined ? undefined : (entry.path ?? '');
}

/**
 * The network of a sandbox. For containerd a new network namespace is one that somebody may fill once the task has a
 * process (`ctr run --cni`), so it is followed like a pod's. For containerd a configuration without a network namespace means the network of the host,
 * which is refused with InvalidArgument.
 */
export function networkOf(spec: Spec, options: SandboxOptions, caller: Caller): NetworkOptions {
  if (Object.hasOwn(spec.annotations ?? {}, NETWORK)) return options.network;
  const path = networkNamespace(spec);
  if (path === undefined && caller === 'containerd') {
    throw new TskataError(
      Code.InvalidArgument,
      'linux.namespaces: no network namespace, which asks for the network of the host (hostNetwork: true, --net-host): ' +
        'a virtual machine cannot share it - give the pod a network of its own, or run it with another runtime class',
    );
  }
  const followed = path !== undefined && (path !== '' || caller === 'containerd');
  return followed ? { ...options.network, mode: 'netns', path } : options.network;
}
