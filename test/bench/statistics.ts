/** Numbers from repetitions: medians, spread, and the ratio of two medians with its bootstrap interval. Seeded. */

/** A series in one line of the report. */
export interface Summary {
  readonly count: number;
  readonly min: number;
  readonly p50: number;
  readonly p90: number;
  readonly max: number;
}

/** A ratio of medians with the interval in which 95 % of the resampled ratios lie. */
export interface Ratio {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

const RESAMPLES = 2000;
const SEED = 20_261_120;

function quantile(sorted: readonly number[], share: number): number {
  const position = (sorted.length - 1) * share;
  const below = sorted[Math.floor(position)] ?? Number.NaN;
  const above = sorted[Math.ceil(position)] ?? Number.NaN;
  return below + (above - below) * (position - Math.floor(position));
}

function median(values: readonly number[]): number {
  return quantile(
    values.toSorted((left, right) => left - right),
    0.5,
  );
}

export function summarize(values: readonly number[]): Summary {
  const sorted = values.toSorted((left, right) => left - right);
  return {
    count: sorted.length,
    min: quantile(sorted, 0),
    p50: quantile(sorted, 0.5),
    p90: quantile(sorted, 0.9),
    max: quantile(sorted, 1),
  };
}

/** Median of `subject` over median of `peer`. */
export function ratioOfMedians(subject: readonly number[], peer: readonly number[]): Ratio {
  let state = SEED;
  const random = (below: number): number => {
    // A 32-bit linear congruential generator: good enough to draw with, equal in every run.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const draw = (values: readonly number[]): number[] => values.map(() => values[random(values.length)] ?? 0);
  const ratios = Array.from({ length: RESAMPLES }, () => median(draw(subject)) / median(draw(peer)));
  const sorted = ratios.toSorted((left, right) => left - right);
  return { value: median(subject) / median(peer), low: quantile(sorted, 0.025), high: quantile(sorted, 0.975) };
}
