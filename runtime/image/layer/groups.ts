/**
 * Owns the choice which adjacent layers of an image share a block image, when there are more layers than disks. It sees
 * sizes only.
 */

/** What one more layer costs in a group beside its bytes: makes many tiny layers no free choice. */
const LAYER_COST_BYTES = 64 * 1024;

/** Adjacent layers, by their numbers: `from` up to but not including `to`. */
export interface LayerGroup {
  readonly from: number;
  readonly to: number;
}

/**
 * Parts `sizes` into at most `maxGroups` groups so that the fewest bytes are in groups of several layers: what is alone
 * has an image that every other image with this layer uses too. Among equals the upper layers are packed, because the
 * lower ones are the likelier to be shared. Deterministic.
 */
export function groupLayers(sizes: readonly number[], maxGroups: number): LayerGroup[] {
  const count = sizes.length;
  if (count <= maxGroups) return sizes.map((_, index) => ({ from: index, to: index + 1 }));
  const sums = [0];
  for (const size of sizes) sums.push((sums.at(-1) ?? 0) + size + LAYER_COST_BYTES);
  const cost = (from: number, to: number): number => (to - from === 1 ? 0 : (sums[to] ?? 0) - (sums[from] ?? 0));
  // best[groups][to]: cheapest way to part the first `to` layers; cut: where its last group begins.
  let best = Array.from({ length: count + 1 }, (_, to) => (to === 0 ? 0 : cost(0, to)));
  const cuts: number[][] = [best.map(() => 0)];
  for (let groups = 2; groups <= maxGroups; groups++) {
    const next = [...best];
    const cut = [...(cuts.at(-1) ?? [])].map(() => -1);
    for (let to = 1; to <= count; to++) {
      for (let from = 1; from < to; from++) {
        const candidate = (best[from] ?? 0) + cost(from, to);
        if (candidate < (next[to] ?? 0)) {
          next[to] = candidate;
          cut[to] = from;
        }
      }
    }
    cuts.push(cut);
    best = next;
  }
  return unwind(cuts, count);
}

function unwind(cuts: readonly (readonly number[])[], count: number): LayerGroup[] {
  const groups: LayerGroup[] = [];
  let to = count;
  for (let level = cuts.length - 1; to > 0; level--) {
    const from = cuts[level]?.[to] ?? 0;
    // -1: this level brought nothing, the one below has the answer.
    if (from === -1) continue;
    groups.unshift({ from, to });
    to = from;
  }
  return groups;
}
