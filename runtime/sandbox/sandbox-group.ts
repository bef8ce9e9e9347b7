/**
 * Owns what one sandbox asks of its host cgroup: entered before anything else is made, and limited anew when a container
 * comes or changes. Refuses to know how groups are made.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Spec, SpecResources } from '../oci/spec.ts';
import type { Container } from './container.ts';
import { groupPath, type HostGroup, type HostLimits, hostLimits, namesHostParts } from './host-group.ts';
import { isPod, type MachineSize, sandboxLimits } from './machine-size.ts';
import type { SandboxConfig } from './sandbox-machine.ts';

/** What decides where a container may run on the host. */
type Placed = Pick<Container, 'spec' | 'resources'>;

export class SandboxGroup {
  readonly #config: SandboxConfig;
  readonly #host: HostGroup;
  #size: MachineSize | undefined;

  constructor(config: SandboxConfig, host: HostGroup) {
    this.#config = config;
    this.#host = host;
  }

  /** Makes the group of a machine of this size, where its first container's configuration says. */
  async enter(spec: Spec, size: MachineSize): Promise<void> {
    const { id, namespace, annotations, group } = this.#config;
    if (!group.enabled) return;
    const { caller } = annotations;
    const place = groupPath({ namespace, id, caller, cgroupsPath: spec.linux?.cgroupsPath }, group.parent);
    this.#size = size;
    const limits = this.#limits([{ spec, resources: spec.linux?.resources ?? {} }], size);
    await this.#host.enter({ ...place, limits });
  }

  /** Limits the group as all its containers are now, the first one first. */
  async place(containers: readonly Placed[]): Promise<void> {
    if (this.#size === undefined || containers.length === 0) return;
    await this.#host.limit(this.#limits(containers, this.#size));
  }

  /** Throws FailedPrecondition for limits that only a group could keep, when there is none. */
  check(id: string, resources: SpecResources): void {
    if (this.#config.group.enabled || !namesHostParts(resources)) return;
    const fact = 'linux.resources names CPUs, memory nodes or devices of the host';
    const { source } = this.#config.annotations;
    throw new TskataError(
      Code.FailedPrecondition,
      `container ${id}: ${fact}, and cgroups of the host are not used here (enabled in [cgroup] of ${source})`,
    );
  }

  #limits(containers: readonly Placed[], size: MachineSize): HostLimits {
    const [first] = containers;
    const pod = first !== undefined && isPod(first.spec);
    // The pause container of a pod has limits of its own, which say nothing.
    const placed = containers.filter(({ spec }) => !isPod(spec)).map(({ resources }) => resources);
    const spec = first === undefined || pod ? first?.spec : withResources(first.spec, first.resources);
    return hostLimits({
      limits: spec === undefined ? {} : sandboxLimits(spec),
      size,
      policy: this.#config.group,
      containers: placed,
      single: !pod,
    });
  }
}

function withResources(spec: Spec, resources: SpecResources): Spec {
  return { ...spec, linux: { ...spec.linux, resources } };
}
