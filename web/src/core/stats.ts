// Summaries of several seeds, for drawing only: what is reported as a result comes from the server.

/** The quantile of sorted, finite values at `q`, by linear interpolation; NaN of none. */
export function quantileSorted(sorted: ArrayLike<number>, q: number): number {
  const n = sorted.length;
  if (n === 0) return NaN;
  const at = q * (n - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, n - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

export interface Spread {
  low: number;
  middle: number;
  high: number;
  known: number;
}

/** Median and quartiles of the finite ones among `values`. */
export function spread(values: ArrayLike<number>): Spread {
  const known = Float64Array.from(values).filter(Number.isFinite).sort();
  return {
    low: quantileSorted(known, 0.25),
    middle: quantileSorted(known, 0.5),
    high: quantileSorted(known, 0.75),
    known: known.length,
  };
}

/** Least and largest finite value, or `fallback` where there is none. */
export function extent(values: ArrayLike<number>, fallback: [number, number] = [0, 1]): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const v = values[i];
    if (v < low) low = v;
    if (v > high && v !== Infinity) high = v;
  }
  return low <= high ? [low, high] : fallback;
}

/** Ticks at round numbers within a range. */
export function niceTicks(low: number, high: number, about = 5): number[] {
  if (!(high > low)) return [low];
  const raw = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  // The one nearest in ratio, by the geometric means of 1, 2, 5 and 10.
  const step = power * (raw < Math.SQRT2 * power ? 1 : raw < Math.sqrt(10) * power ? 2 : raw < Math.sqrt(50) * power ? 5 : 10);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) ticks.push(k * step + 0); // no −0
  return ticks;
}
