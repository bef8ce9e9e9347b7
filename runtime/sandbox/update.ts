/**
 * Owns what an update of a container's limits may say: what the machine can hold. Pure. A limit that the machine could
 * never reach would be accepted and not kept.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { SpecResources } from '../oci/spec.ts';
import type { MachineSize } from './machine-size.ts';

const MIB = 1024 * 1024;
const DEFAULT_PERIOD_US = 100_000;

/** The resources after an update: what it does not say stays as it was. */
export function mergeResources(old: SpecResources, update: SpecResources): SpecResources {
  return {
    ...old,
    ...update,
    memory: { ...old.memory, ...update.memory },
    cpu: { ...old.cpu, ...update.cpu },
    blockIO: { ...old.blockIO, ...update.blockIO },
  };
}

/** Throws FailedPrecondition for more than the machine can hold. What is not more than before always passes. */
export function checkUpdate(
  id: string,
  old: SpecResources,
  update: SpecResources,
  machine: MachineSize & { readonly guestOverheadMib: number },
): void {
  const { memoryMib, vcpus, guestOverheadMib } = machine;
  const holds = memoryMib - guestOverheadMib;
  const limit = update.memory?.limit ?? 0;
  if (limit > holds * MIB && limit > (old.memory?.limit ?? 0)) {
    const fact = `a memory limit of ${Math.ceil(limit / MIB)} MiB; its machine has ${memoryMib} MiB`;
    throw beyond(id, `${fact}, of which containers can have ${holds}`);
  }
  const cpus = cpusOf(mergeResources(old, update));
  if (cpus > vcpus && cpus > cpusOf(old)) {
    throw beyond(id, `a limit of ${Number(cpus.toFixed(2))} CPUs; its machine has ${vcpus}`);
  }
}

function cpusOf({ cpu = {} }: SpecResources): number {
  return cpu.quota !== undefined && cpu.quota > 0 ? cpu.quota / (cpu.period || DEFAULT_PERIOD_US) : 0;
}

function beyond(id: string, fact: string): TskataError {
  return new TskataError(
    Code.FailedPrecondition,
    `update container ${id}: ${fact} - a machine keeps the size that it was started with: make the sandbox anew`,
  );
}
