/**
 * Owns which namespaces a container has of its own in the guest, and whose process ids it sees. Paths of namespaces are
 * the host's and never cross: that of a network, of IPC or of host names means the machine's own, and that of process
 * ids is looked up among the containers of the sandbox.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { podRole } from '../oci/pod.ts';
import type { Spec } from '../oci/spec.ts';

/** A container that may be joined. */
export interface Neighbour {
  readonly id: string;
  /** Host process that stands for its init. */
  readonly pid: number;
}

/** As the agent is told. */
export interface ContainerNamespaces {
  /** Namespaces of its own; others are the machine's. */
  readonly own: readonly string[];
  /** Container whose process ids it shares; empty: none. */
  readonly pidNamespaceOf: string;
}

/**
 * Plans them. `neighbours` are the containers of the sandbox, its first one first.
 * @throws TskataError InvalidArgument with the JSON path, for a pid namespace of somebody else.
 */
export function planNamespaces(spec: Spec, neighbours: readonly Neighbour[]): ContainerNamespaces {
  const namespaces = spec.linux?.namespaces ?? [];
  const role = podRole(spec.annotations);
  // The containers of a pod share what its sandbox container has: they are the machine's, and so are its parameters.
  const shared = new Set(role === 'sandbox' ? ['network', 'ipc', 'uts'] : ['network']);
  const own = namespaces.filter(({ type, path = '' }) => path === '' && !shared.has(type)).map(({ type }) => type);
  const index = namespaces.findIndex(({ type }) => type === 'pid');
  const path = namespaces[index]?.path ?? '';
  if (path !== '') return { own, pidNamespaceOf: findOwner(path, neighbours, `linux.namespaces[${index}].path`) };
  // "The node's" is the pod's: its node is the machine.
  const pidNamespaceOf = index < 0 && role === 'container' ? (neighbours[0]?.id ?? '') : '';
  return { own, pidNamespaceOf };
}

function findOwner(path: string, neighbours: readonly Neighbour[], where: string): string {
  const pid = Number(/^\/proc\/([0-9]+)\/ns\/pid$/.exec(path)?.[1]);
  const owner = neighbours.find((neighbour) => neighbour.pid === pid);
  if (owner !== undefined) return owner.id;
  throw new TskataError(
    Code.InvalidArgument,
    `${where}: '${path}' is of no container of this sandbox - processes of the host, or of another machine, cannot be seen from this one`,
  );
}
