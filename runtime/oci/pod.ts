/**
 * Owns how a bundle says which part of a pod it is: the annotations of Kubernetes' runtimes, containerd's and CRI-O's.
 * Refuses to know what follows from it.
 */

/** A pod's own container, which stands for its namespaces; one of its further containers; or no pod's. */
export type PodRole = 'sandbox' | 'container' | 'none';

const TYPE_NAMES = ['io.kubernetes.cri.container-type', 'io.kubernetes.cri-o.ContainerType'] as const;

/** Reads the role. An unknown value is none. */
export function podRole(annotations: Readonly<Record<string, string>> = {}): PodRole {
  for (const name of TYPE_NAMES) {
    const value = Object.hasOwn(annotations, name) ? annotations[name] : undefined;
    if (value === 'sandbox' || value === 'container') return value;
  }
  return 'none';
}
