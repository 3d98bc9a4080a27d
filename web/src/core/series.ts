// Curves of several seeds as sums and counts, of which any two add up; memory is bounded.

/** Points in order of x, each standing for what happened up to it. Keeps at most `capacity` of them. */
export class Curve {
  readonly xs: number[] = [];
  private readonly sums: number[][];
  private readonly counts: number[][];

  constructor(
    readonly seeds: number,
    readonly capacity = 1200,
  ) {
    this.sums = Array.from({ length: seeds }, () => []);
    this.counts = Array.from({ length: seeds }, () => []);
  }

  get length(): number {
    return this.xs.length;
  }

  get end(): number {
    return this.xs.length ? this.xs[this.xs.length - 1] : -Infinity;
  }

  /** Add what happened up to x. A branch never changes its past: what is known already is left as it is. */
  push(x: number, sums: ArrayLike<number>, counts: ArrayLike<number>): void {
    if (x <= this.end) return;
    this.xs.push(x);
    for (let s = 0; s < this.seeds; s++) {
      this.sums[s].push(sums[s]);
      this.counts[s].push(counts[s]);
    }
    if (this.xs.length > this.capacity) this.halve();
  }

  private halve(): void {
    const pairs = this.xs.length >> 1;
    for (let i = 0; i < pairs; i++) {
      this.xs[i] = this.xs[2 * i + 1];
      for (const column of [...this.sums, ...this.counts]) column[i] = column[2 * i] + column[2 * i + 1];
    }
    // An odd one at the end stays as it is.
    const odd = this.xs.length % 2;
    for (const column of [this.xs, ...this.sums, ...this.counts]) {
      if (odd) column[pairs] = column[column.length - 1];
      column.length = pairs + odd;
    }
  }

  /** The mean of one seed at each point, NaN where nothing was counted. */
  column(seed: number): number[] {
    const { sums, counts } = this;
    return this.xs.map((_, i) => (counts[seed][i] > 0 ? sums[seed][i] / counts[seed][i] : NaN));
  }
}

/** One curve after another (a branch after what it left), the earlier ones cut where the next begins. */
export function joined(parts: readonly { curve: Curve; to: number }[], seed: number): { x: number[]; y: number[] } {
  const x: number[] = [];
  const y: number[] = [];
  for (const { curve, to } of parts) {
    const column = curve.column(seed);
    for (let i = 0; i < curve.length && curve.xs[i] <= to; i++) {
      x.push(curve.xs[i]);
      y.push(column[i]);
    }
  }
  return { x, y };
}

/** Means over windows, so that a curve has at most `points` points; NaN counts for nothing. */
export function binned(x: readonly number[], columns: readonly number[][], points: number): { x: number[]; columns: number[][] } {
  if (x.length <= points) return { x: [...x], columns: columns.map((c) => [...c]) };
  const size = Math.ceil(x.length / points);
  const out: { x: number[]; columns: number[][] } = { x: [], columns: columns.map(() => []) };
  for (let i = 0; i < x.length; i += size) {
    const end = Math.min(i + size, x.length);
    out.x.push(x[end - 1]);
    columns.forEach((column, c) => {
      let sum = 0;
      let known = 0;
      for (let j = i; j < end; j++) {
        if (!Number.isNaN(column[j])) {
          sum += column[j];
          known++;
        }
      }
      out.columns[c].push(known ? sum / known : NaN);
    });
  }
  return out;
}
