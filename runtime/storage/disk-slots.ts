/**
 * Owns which disk is in which slot of one machine: a small fixed number of layer slots and one for a writable disk.
 * Refuses to know how a slot is filled.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { DiskConfig } from '../vm/vm.ts';
import type { DiskRequest } from './plan.ts';

/** Slots for read-only layers; images with more are packed by the image store. */
const MAX_LAYER_DISKS = 8;
/** The slot of the writable disk. */
const SCRATCH_SLOT = MAX_LAYER_DISKS;

/** Slots of one machine. */
export class DiskSlots {
  readonly #used = new Set<number>();
  readonly #isOccupied: (slot: number) => boolean;

  /** `isOccupied`: whether the machine has a disk there, be it one that the guest does not let go of. */
  constructor(isOccupied: (slot: number) => boolean) {
    this.#isOccupied = isOccupied;
  }

  /** Takes a free slot: the scratch slot for the first writable disk, layer slots in order for the others. */
  take(request: DiskRequest): DiskConfig {
    const layers = Array.from({ length: MAX_LAYER_DISKS }, (_, slot) => slot);
    const candidates = request.readOnly ? layers : [SCRATCH_SLOT, ...layers.toReversed()];
    const slot = candidates.find((candidate) => !this.#used.has(candidate) && !this.#isOccupied(candidate));
    if (slot === undefined) {
      throw new TskataError(
        Code.ResourceExhausted,
        `attach disk ${request.path} - all ${MAX_LAYER_DISKS + 1} disk slots are taken - use an image with fewer layers, or pack it`,
      );
    }
    this.#used.add(slot);
    return { slot, path: request.path, readOnly: request.readOnly, ephemeral: request.ephemeral };
  }

  /** Gives a slot back; it is free once the machine has no disk there. */
  release(slot: number): void {
    this.#used.delete(slot);
  }
}
