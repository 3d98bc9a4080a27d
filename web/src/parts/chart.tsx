// A curve over time by uPlot, with the newest reading, a summary in words and the numbers as a table.

import uPlot from "uplot";
import { useEffect, useRef, useState } from "preact/hooks";
import { compact, short } from "../core/format";
import { slow } from "../core/session";
import { theme } from "../core/theme";
import { PALETTES } from "../draw/palette";
import { Button } from "./ui";

export interface Trace {
  label: string;
  y: ArrayLike<number>;
  color?: "data" | "other" | "soft";
  width?: number;
  dash?: boolean;
  faint?: boolean;
  points?: boolean;
}

export interface ChartData {
  x: ArrayLike<number>;
  traces: Trace[];
  /** Pairs of traces (upper, lower) with the area between them tinted. */
  bands?: [number, number][];
  /** The legend: what is drawn how. */
  legend?: { text: string; look: string }[];
  reading?: string;
}

interface Props {
  title: string;
  xLabel: string;
  build: () => ChartData | null;
  height?: number;
  empty?: string;
  xFormat?: (x: number) => string;
  heading?: "h2" | "h3";
}

const FONT = '11.5px Inter, "Segoe UI", system-ui, sans-serif';

export function Chart({ title, xLabel, build, height = 168, empty = "Nothing to draw yet.", xFormat = compact, heading: Heading = "h2" }: Props) {
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<{ u: uPlot; form: string } | null>(null);
  const [asTable, setAsTable] = useState(false);
  slow.value;
  const data = build();
  const mode = theme.value;
  useEffect(
    () => () => {
      plot.current?.u.destroy();
      plot.current = null;
    },
    [asTable],
  );
  useEffect(() => {
    const at = holder.current;
    if (!at || asTable) return;
    const measure = new ResizeObserver(([entry]) => {
      const width = Math.floor(entry.contentRect.width);
      if (plot.current && width > 40 && width !== plot.current.u.width) plot.current.u.setSize({ width, height });
    });
    measure.observe(at);
    return () => measure.disconnect();
  }, [asTable, height]);
  useEffect(() => {
    const at = holder.current;
    if (!at || asTable) return;
    if (!data || data.x.length < 1) {
      plot.current?.u.destroy();
      plot.current = null;
      return;
    }
    // The same lines as before: only the numbers change.
    const form = JSON.stringify([mode, data.traces.map((t) => [t.label, t.color, t.width, t.dash, t.faint, t.points]), data.bands]);
    const columns = [data.x, ...data.traces.map((t) => t.y)].map((c) => Array.from(c, (v) => (Number.isFinite(v) ? v : null)));
    if (plot.current?.form === form) {
      plot.current.u.setData(columns as uPlot.AlignedData);
      return;
    }
    plot.current?.u.destroy();
    const u = new uPlot(options(data, mode, Math.max(120, at.clientWidth), height, xFormat), columns as uPlot.AlignedData, at);
    plot.current = { u, form };
  });
  const last = data ? summary(data, xLabel, xFormat) : empty;
  return (
    <section class="card chart" aria-label={title}>
      <header>
        <Heading>{title}</Heading>
        <span class="row">
          {data?.reading && <span class="reading">{data.reading}</span>}
          <Button look="tiny plain" icon="table" aria-pressed={asTable} onClick={() => setAsTable(!asTable)} aria-label={`${title}: view as table`} title="View as table" />
        </span>
      </header>
      <p class="visually-hidden">{last}</p>
      {asTable ? data ? <Numbers data={data} xLabel={xLabel} title={title} /> : <p class="soft small">{empty}</p> : <div class="plot" ref={holder} aria-hidden="true">{!data && <p class="soft small">{empty}</p>}</div>}
      {data?.legend && !asTable && (
        <ul class="legend">
          {data.legend.map(({ text, look }) => (
            <li key={text}>
              <i class={look} />
              {text}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function options(data: ChartData, mode: "light" | "dark", width: number, height: number, xFormat: (x: number) => string): uPlot.Options {
  const palette = PALETTES[mode];
  const of = { data: palette.data, other: palette.other, soft: palette.soft };
  const axis = { stroke: palette.soft, font: FONT, grid: { stroke: palette.line, width: 1 }, ticks: { show: false } };
  return {
    width,
    height,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    padding: [8, 12, 0, 0],
    scales: { x: { time: false }, y: { range: (_u, low, high) => padded(low, high) } },
    axes: [
      { ...axis, size: 28, gap: 6, space: 70, grid: { show: false }, values: (_u, ticks) => ticks.map(xFormat) },
      { ...axis, size: 46, gap: 6, space: 34, values: (_u, ticks) => ticks.map((t) => short(t)) },
    ],
    series: [
      {},
      ...data.traces.map((t) => {
        const color = of[t.color ?? "data"];
        return {
          label: t.label,
          stroke: t.faint ? `${color}40` : color,
          width: t.width ?? 2,
          dash: t.dash ? [5, 4] : undefined,
          points: { show: t.points ?? false, size: 4 },
          spanGaps: true,
        };
      }),
    ],
    bands: data.bands?.map(([up, down]) => ({ series: [up + 1, down + 1] as [number, number], fill: `${of[data.traces[up].color ?? "data"]}26` })),
  };
}

function padded(low: number, high: number): [number, number] {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  const span = high - low || Math.abs(high) || 1;
  return [low - 0.06 * span, high + 0.08 * span];
}

function summary(data: ChartData, xLabel: string, xFormat: (x: number) => string): string {
  const n = data.x.length;
  if (!n) return "Nothing to draw yet.";
  const said = data.traces.filter((t) => !t.faint).map((t) => `${t.label} ${short(lastKnown(t.y))}`);
  return `At ${xLabel} ${xFormat(data.x[n - 1])}: ${said.join(", ")}.`;
}

function lastKnown(y: ArrayLike<number>): number {
  for (let i = y.length - 1; i >= 0; i--) if (Number.isFinite(y[i])) return y[i];
  return NaN;
}

function Numbers({ data, xLabel, title }: { data: ChartData; xLabel: string; title: string }) {
  const n = data.x.length;
  // Some 40 rows can be read; the last one is always among them.
  const step = Math.max(1, Math.ceil(n / 40));
  const rows = Array.from({ length: Math.ceil(n / step) }, (_, i) => n - 1 - i * step).reverse();
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={`${title}, as a table`}>
      {step > 1 && <p class="small soft">Every {step}th of {n} points.</p>}
      <table>
        <thead>
          <tr>
            <th scope="col">{xLabel}</th>
            {data.traces.map((t) => (
              <th key={t.label} scope="col" class="num">{t.label}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((i) => (
            <tr key={i}>
              <th scope="row">{compact(data.x[i])}</th>
              {data.traces.map((t) => (
                <td key={t.label} class="num">{short(t.y[i])}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
