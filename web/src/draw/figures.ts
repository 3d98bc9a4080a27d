// Figures as SVG text: the same that is seen on the page is written to files.

import { compact, short } from "../core/format";
import { niceTicks } from "../core/stats";
import { PALETTES, type Theme } from "./palette";

const FONT = 'Inter, "Segoe UI", system-ui, sans-serif';
/** Distinguishable in both themes and to the colour-blind; the dash tells them apart without colour. */
const HUES: Record<Theme, string[]> = {
  light: ["#2C6BA8", "#B4521D", "#1D7650", "#7A4FA3", "#8A6A00", "#9C2F5D"],
  dark: ["#74AEE6", "#F0894F", "#58C896", "#BE9BE3", "#D9B84A", "#EC86B0"],
};
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "", "7 4"];

export const escape = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

const n2 = (x: number) => Number(x.toFixed(2));

export interface IntervalRow {
  label: string;
  note: string;
  middle: number | null;
  interval: [number, number] | null;
  points: readonly number[];
}

function frame(width: number, height: number, title: string, body: string, theme: Theme, opaque: boolean): string {
  const back = opaque ? `<rect width="${width}" height="${height}" fill="${PALETTES[theme].roles.background}"/>` : "";
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escape(title)}" font-family="${escape(FONT)}">${back}${body}</svg>`;
}

/** Estimates with their intervals, one line for each; small circles are single seeds. */
export function intervals(rows: readonly IntervalRow[], xLabel: string, theme: Theme, width = 760, opaque = false): string {
  const { ink, soft, line } = PALETTES[theme];
  const hue = HUES[theme][0];
  const left = Math.min(width * 0.44, Math.max(90, ...rows.map((r) => Math.max(r.label.length * 7.9, r.note.length * 6.4) + 18)));
  const right = 86;
  const step = 38;
  const height = rows.length * step + 46;
  const all = rows.flatMap((r) => [...r.points, ...(r.interval ?? []), ...(r.middle === null ? [] : [r.middle])]);
  let [low, high] = all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
  if (low === high) [low, high] = [low - Math.abs(low) * 0.05 - 0.5, high + Math.abs(high) * 0.05 + 0.5];
  const pad = (high - low) * 0.05;
  const x = (v: number) => n2(left + ((v - low + pad) / (high - low + 2 * pad)) * (width - left - right));
  let body = "";
  for (const t of niceTicks(low, high, Math.max(2, Math.floor((width - left - right) / 90)))) {
    body += `<line x1="${x(t)}" x2="${x(t)}" y1="8" y2="${height - 38}" stroke="${line}"/><text x="${x(t)}" y="${height - 22}" font-size="12" fill="${soft}" text-anchor="middle">${escape(short(t, 4))}</text>`;
  }
  rows.forEach((row, i) => {
    const y = 8 + i * step + step / 2;
    body += `<text x="${left - 14}" y="${row.note ? y - 1 : y + 4}" font-size="13.5" font-weight="550" fill="${ink}" text-anchor="end">${escape(clip(row.label, (left - 16) / 7.9))}</text>`;
    if (row.note) body += `<text x="${left - 14}" y="${y + 13}" font-size="11.5" fill="${soft}" text-anchor="end">${escape(clip(row.note, (left - 16) / 6.4))}</text>`;
    for (const p of row.points) body += `<circle cx="${x(p)}" cy="${y}" r="3.2" fill="none" stroke="${soft}" stroke-width="1" opacity="0.65"/>`;
    if (row.interval) body += `<line x1="${x(row.interval[0])}" x2="${x(row.interval[1])}" y1="${y}" y2="${y}" stroke="${hue}" stroke-width="7" stroke-linecap="round" opacity="0.32"/>`;
    if (row.middle !== null) {
      body += `<circle cx="${x(row.middle)}" cy="${y}" r="5" fill="${hue}"/>`;
      body += `<text x="${width - right + 14}" y="${y + 4}" font-size="13.5" font-weight="600" fill="${ink}">${escape(short(row.middle, 4))}</text>`;
    }
  });
  body += `<text x="${width - 8}" y="${height - 4}" font-size="12" fill="${soft}" text-anchor="end">${escape(xLabel)}</text>`;
  return frame(width, height, xLabel, body, theme, opaque);
}

const clip = (text: string, room: number) => (text.length > room + 0.5 ? `${text.slice(0, Math.max(1, Math.floor(room) - 1))}…` : text);

export interface CurveRow {
  label: string;
  x: readonly number[];
  middle: readonly (number | null)[];
  low: readonly (number | null)[];
  high: readonly (number | null)[];
}

/** Learning curves with their bands, named where they end. */
export function curves(rows: readonly CurveRow[], xLabel: string, yLabel: string, theme: Theme, width = 760, opaque = false): string {
  const { soft, line } = PALETTES[theme];
  const narrow = width < 520;
  const [left, right, top, plot] = [54, narrow ? 16 : 150, 14, 240];
  const legend = narrow ? rows.length * 20 + 14 : 0;
  const height = plot + top + 44 + legend;
  const known = (v: number | null): v is number => v !== null && Number.isFinite(v);
  const xs = rows.flatMap((r) => r.x);
  const ys = rows.flatMap((r) => [...r.low, ...r.high, ...r.middle]).filter(known);
  if (!xs.length || !ys.length) return "";
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  if (y0 === y1) [y0, y1] = [y0 - 1, y1 + 1];
  const X = (v: number) => n2(left + ((v - x0) / (x1 - x0 || 1)) * (width - left - right));
  const Y = (v: number) => n2(top + (1 - (v - y0) / (y1 - y0)) * plot);
  let body = "";
  for (const t of niceTicks(y0, y1, 5)) body += `<line x1="${left}" x2="${width - right}" y1="${Y(t)}" y2="${Y(t)}" stroke="${line}"/><text x="${left - 8}" y="${Y(t) + 4}" font-size="12" fill="${soft}" text-anchor="end">${escape(short(t))}</text>`;
  for (const t of niceTicks(x0, x1, Math.max(2, Math.floor((width - left - right) / 110)))) body += `<text x="${X(t)}" y="${top + plot + 20}" font-size="12" fill="${soft}" text-anchor="middle">${escape(compact(t))}</text>`;
  const ends: number[] = [];
  rows.forEach((row, i) => {
    const hue = HUES[theme][i % 6];
    const at = row.x.map((_, j) => j).filter((j) => known(row.middle[j]));
    if (!at.length) return;
    const banded = at.filter((j) => known(row.low[j]) && known(row.high[j]));
    if (banded.length > 1) {
      const upper = banded.map((j) => `${X(row.x[j])} ${Y(row.high[j]!)}`);
      const lower = banded.map((j) => `${X(row.x[j])} ${Y(row.low[j]!)}`).reverse();
      body += `<path d="M${[...upper, ...lower].join("L")}Z" fill="${hue}" opacity="0.15"/>`;
    }
    body += `<path d="M${at.map((j) => `${X(row.x[j])} ${Y(row.middle[j]!)}`).join("L")}" fill="none" stroke="${hue}" stroke-width="2" stroke-linejoin="round"${DASHES[i % 6] ? ` stroke-dasharray="${DASHES[i % 6]}"` : ""}/>`;
    const last = at[at.length - 1];
    let y = Y(row.middle[last]!) + 4;
    if (narrow) {
      y = top + plot + 58 + i * 20;
      body += `<line x1="${left}" x2="${left + 22}" y1="${y - 4}" y2="${y - 4}" stroke="${hue}" stroke-width="2.5"${DASHES[i % 6] ? ` stroke-dasharray="${DASHES[i % 6]}"` : ""}/><text x="${left + 30}" y="${y}" font-size="12.5" fill="${hue}">${escape(clip(row.label, (width - left - 40) / 7))}</text>`;
    } else {
      // Names that would lie on one another go below.
      while (ends.some((e) => Math.abs(e - y) < 16)) y += 4;
      ends.push(y);
      body += `<text x="${X(row.x[last]) + 8}" y="${y}" font-size="12.5" font-weight="550" fill="${hue}">${escape(clip(row.label, (width - X(row.x[last]) - 10) / 7))}</text>`;
    }
  });
  body += `<text x="${left}" y="${top + plot + 38}" font-size="12" fill="${soft}">${escape(xLabel)}</text><text x="${left}" y="10" font-size="12" fill="${soft}">${escape(yLabel)}</text>`;
  return frame(width, height, `${yLabel} over ${xLabel}`, body, theme, opaque);
}

/** A small curve without axes; `label` says it in words. */
export function sparkline(values: readonly (number | null)[], label: string, theme: Theme): string {
  const known = values.map((v, i) => [i, v] as const).filter((p): p is readonly [number, number] => p[1] !== null && Number.isFinite(p[1]));
  const [w, h] = [130, 30];
  if (!known.length) return "";
  const ys = known.map((p) => p[1]);
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const x = (i: number) => n2(2 + (i / Math.max(1, values.length - 1)) * (w - 4));
  const y = (v: number) => n2(high > low ? h - 3 - ((v - low) / (high - low)) * (h - 6) : h / 2);
  const hue = HUES[theme][0];
  const path = known.map(([i, v]) => `${x(i)} ${y(v)}`).join("L");
  const [endX, endY] = [x(known[known.length - 1][0]), y(ys[ys.length - 1])];
  const area = known.length > 1 ? `<path d="M${path}L${endX} ${h}L${x(known[0][0])} ${h}Z" fill="${hue}" opacity="0.12"/>` : "";
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}" role="img" aria-label="${escape(label)}">${area}<path d="M${path}" fill="none" stroke="${hue}" stroke-width="1.6" stroke-linejoin="round"/><circle cx="${endX}" cy="${endY}" r="2.2" fill="${hue}"/></svg>`;
}

/** Several figures below one another in one file. */
export function stacked(figures: readonly string[]): string {
  const sizes = figures.map((f) => [Number(/ width="([\d.]+)"/.exec(f)?.[1] ?? 0), Number(/ height="([\d.]+)"/.exec(f)?.[1] ?? 0)]);
  const width = Math.max(0, ...sizes.map((s) => s[0]));
  let y = 0;
  const parts = figures.map((f, i) => {
    const placed = f.replace("<svg ", `<svg y="${y}" `);
    y += sizes[i][1] + 16;
    return placed;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${Math.max(0, y - 16)}" width="${width}" height="${Math.max(0, y - 16)}">${parts.join("")}</svg>`;
}
