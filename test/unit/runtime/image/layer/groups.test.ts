import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { groupLayers } from '../../../../../runtime/image/layer/groups.ts';

const SEED = 20_261_120;
const MIB = 1024 * 1024;

describe('grouping of layers', () => {
  it('leaves layers alone while there are disks for all', () => {
    expect(groupLayers([1, 2, 3], 8)).toEqual([
      { from: 0, to: 1 },
      { from: 1, to: 2 },
      { from: 2, to: 3 },
    ]);
    expect(groupLayers([], 8)).toEqual([]);
  });

  it('packs the smallest neighbours, and of equals the upper ones', () => {
    const sizes = [200 * MIB, MIB, 80 * MIB, 90 * MIB, 70 * MIB, 60 * MIB, 50 * MIB, 40 * MIB, 2 * MIB, MIB];
    expect(groupLayers(sizes, 8).filter(({ from, to }) => to - from > 1)).toEqual([{ from: 7, to: 10 }]);
    const equal = groupLayers(
      Array.from({ length: 10 }, () => MIB),
      8,
    );
    expect(equal.slice(0, 7).every(({ from, to }) => to - from === 1)).toBe(true);
  });

  it('always covers every layer once, in order, within the disks', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1e9), { maxLength: 128 }), fc.integer({ min: 1, max: 8 }), (sizes, max) => {
        const groups = groupLayers(sizes, max);
        expect(groups.length).toBeLessThanOrEqual(Math.max(max, 0));
        expect(groups.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, index) => from + index))).toEqual(
          sizes.map((_, index) => index),
        );
        expect(groups.length).toBe(Math.min(max, sizes.length));
      }),
      { seed: SEED, numRuns: 200 },
    );
  });
});
