// Curves of a run over training: median and quartiles of the seeds, branches after what they left.

import { short } from "../core/format";
import { binned, joined } from "../core/series";
import { active, branches, curves, curvesOf, focus, frames, run } from "../core/session";
import { spread } from "../core/stats";
import { Chart, type ChartData, type Trace } from "./chart";
import { nameOf } from "./timeline";

const POINTS = 160;

interface Band {
  x: number[];
  low: number[];
  middle: number[];
  high: number[];
}

export function bandOf(branch: number, name: string): Band | null {
  const now = run.value;
  const parts = curvesOf(branch, name);
  if (!now || !parts.length) return null;
  const columns: number[][] = [];
  let x: number[] = [];
  for (let seed = 0; seed < now.seeds; seed++) {
    const { x: at, y } = joined(parts, seed);
    x = at;
    columns.push(y);
  }
  const thin = binned(x, columns, POINTS);
  const band: Band = { x: thin.x.map((u) => u * now.steps_per_update), low: [], middle: [], high: [] };
  for (let i = 0; i < thin.x.length; i++) {
    const { low, middle, high } = spread(thin.columns.map((c) => c[i]));
    band.low.push(low);
    band.middle.push(middle);
    band.high.push(high);
  }
  // Where no episode has ended in any seed there is nothing to draw.
  const kept = band.middle.map((v, i) => (Number.isNaN(v) ? -1 : i)).filter((i) => i >= 0);
  for (const key of ["x", "low", "middle", "high"] as const) band[key] = kept.map((i) => band[key][i]);
  return band.x.length ? band : null;
}

/** Several series on one axis: every x of any, NaN where one has none. */
export function aligned(xs: readonly (readonly number[])[], ys: readonly (readonly number[])[]): { x: number[]; y: number[][] } {
  const x = [...new Set(xs.flat())].sort((a, b) => a - b);
  const at = new Map(x.map((v, i) => [v, i]));
  const y = ys.map((column, c) => {
    const out = new Array<number>(x.length).fill(NaN);
    column.forEach((v, i) => (out[at.get(xs[c][i])!] = v));
    return out;
  });
  return { x, y };
}

interface Props {
  title: string;
  series: string;
  height?: number;
  /** A line to be reached, and its name. */
  goal?: { value: number; text: string } | null;
  empty?: string;
  places?: (v: number) => string;
}

export function CurveChart({ title, series, height, goal, empty, places = short }: Props) {
  const build = (): ChartData | null => {
    const shown = focus.value.length > 1 ? focus.value.slice(0, 2) : [active.value];
    const bands = shown.map((b) => bandOf(b, series));
    if (bands.every((b) => b === null)) return null;
    const xs: number[][] = [];
    const ys: number[][] = [];
    const traces: Omit<Trace, "y">[] = [];
    const tinted: [number, number][] = [];
    const legend: { text: string; look: string }[] = [];
    bands.forEach((band, i) => {
      if (!band) return;
      const second = i === 1;
      const color = second ? "other" : "data";
      const mine = branches.value.find((b) => b.id === shown[i]);
      const name = shown.length > 1 ? `${"AB"[i]} ${mine ? nameOf(mine) : ""}` : "median";
      const first = traces.length;
      for (const [label, y] of [
        [`${name} third quartile`, band.high],
        [`${name} first quartile`, band.low],
      ] as const) {
        xs.push(band.x);
        ys.push(y);
        traces.push({ label, color, width: 0.001, faint: true });
      }
      tinted.push([first, first + 1]);
      xs.push(band.x);
      ys.push(band.middle);
      traces.push({ label: shown.length > 1 ? `${name} median` : "median", color, dash: second, points: band.x.length < 2 });
      legend.push({ text: shown.length > 1 ? name : "median", look: second ? "b dashed" : "" });
    });
    const seeds = run.value?.seeds ?? 1;
    if (seeds > 1) legend.push({ text: `quartiles of ${seeds} seeds`, look: "band" });
    if (goal && Number.isFinite(goal.value)) {
      const ends = [Math.min(...xs.flat()), Math.max(...xs.flat())];
      xs.push(ends);
      ys.push([goal.value, goal.value]);
      traces.push({ label: goal.text, color: "soft", dash: true, width: 1.5 });
      legend.push({ text: `${goal.text} ${places(goal.value)}`, look: "ink dashed" });
    }
    const { x, y } = aligned(xs, ys);
    const newest = bands[bands.length - 1] ?? bands[0];
    return {
      x,
      traces: traces.map((t, i) => ({ ...t, y: y[i] })),
      bands: tinted,
      legend,
      reading: newest ? places(newest.middle[newest.middle.length - 1]) : "",
    };
  };
  return <Chart title={title} xLabel="steps of each seed" build={build} height={height} empty={empty} />;
}

/** Names of all series that have come for what is shown. */
export function seriesNames(): string[] {
  return [...new Set(focus.value.flatMap(knownSeries))].sort();
}

function knownSeries(branch: number): string[] {
  const own = [...(curves.get(branch)?.keys() ?? [])];
  const parent = branches.value.find((b) => b.id === branch)?.parent;
  return parent === null || parent === undefined ? own : [...own, ...(curves.get(parent)?.keys() ?? [])];
}

export const frameU = (branch: number) => frames.get(branch)?.u ?? branches.value.find((b) => b.id === branch)?.u ?? 0;
