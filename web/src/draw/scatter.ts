// Points of two quantities, with what is needed to read them: a clip region, or the line on which both agree.

import { short } from "../core/format";
import { niceTicks } from "../core/stats";
import { PALETTES, type Theme } from "./palette";

export interface ScatterData {
  x: ArrayLike<number>;
  y: ArrayLike<number>;
  xLabel: string;
  yLabel: string;
  /** Ratios beyond 1 ± clip teach nothing where the advantage pushes further out: shaded. */
  clip?: number;
  /** Both axes measure the same: drawn alike, with the line on which they agree. */
  same?: boolean;
}

const FONT = '11.5px Inter, "Segoe UI", system-ui, sans-serif';
const [LEFT, RIGHT, TOP, BOTTOM] = [50, 12, 10, 40];

/** Whether the objective is flat at a point: the gain is clipped. */
export const isFlat = (advantage: number, ratio: number, clip: number) => (advantage > 0 && ratio > 1 + clip) || (advantage < 0 && ratio < 1 - clip);

function extent(values: ArrayLike<number>, ...also: number[]): [number, number] {
  let [low, high] = [Math.min(...also), Math.max(...also)];
  for (let i = 0; i < values.length; i++) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  if (low > high) return [0, 1];
  const room = 0.06 * (high - low || Math.abs(high) || 1);
  return [low - room, high + room];
}

export function drawScatter(c: CanvasRenderingContext2D, width: number, height: number, theme: Theme, data: ScatterData): void {
  const palette = PALETTES[theme];
  const { clip } = data;
  let [x0, x1] = extent(data.x, ...(clip === undefined ? [] : [-1, 1]));
  let [y0, y1] = extent(data.y, ...(clip === undefined ? [] : [1 - 1.6 * clip, 1 + 1.6 * clip]));
  if (data.same) [x0, x1] = [y0, y1] = [Math.min(x0, y0), Math.max(x1, y1)];
  const [w, h] = [width - LEFT - RIGHT, height - TOP - BOTTOM];
  const at = (v: number) => LEFT + ((v - x0) / (x1 - x0)) * w;
  const up = (v: number) => TOP + h - ((v - y0) / (y1 - y0)) * h;
  c.clearRect(0, 0, width, height);
  c.font = FONT;
  c.lineWidth = 1;
  c.fillStyle = palette.soft;
  c.strokeStyle = palette.line;
  c.textAlign = "right";
  c.textBaseline = "middle";
  for (const t of niceTicks(y0, y1, Math.max(2, Math.round(h / 44)))) {
    c.beginPath();
    c.moveTo(LEFT, up(t));
    c.lineTo(LEFT + w, up(t));
    c.stroke();
    c.fillText(short(t), LEFT - 7, up(t));
  }
  c.textAlign = "center";
  c.textBaseline = "top";
  for (const t of niceTicks(x0, x1, Math.max(2, Math.round(w / 70)))) c.fillText(short(t), at(t), TOP + h + 6);
  c.fillText(data.xLabel, LEFT + w / 2, TOP + h + 23);
  c.save();
  c.translate(10, TOP + h / 2);
  c.rotate(-Math.PI / 2);
  c.textBaseline = "middle";
  c.fillText(data.yLabel, 0, 0);
  c.restore();
  c.save();
  c.beginPath();
  c.rect(LEFT, TOP, w, h);
  c.clip();
  if (clip !== undefined) {
    c.fillStyle = `${palette.other}24`;
    c.fillRect(at(0), TOP, at(x1) - at(0), up(1 + clip) - TOP);
    c.fillRect(LEFT, up(1 - clip), at(0) - LEFT, TOP + h - up(1 - clip));
    c.strokeStyle = palette.other;
    c.setLineDash([5, 4]);
    c.beginPath();
    for (const edge of [1 + clip, 1 - clip]) {
      c.moveTo(LEFT, up(edge));
      c.lineTo(LEFT + w, up(edge));
    }
    c.stroke();
    c.setLineDash([]);
    c.strokeStyle = palette.soft;
    c.beginPath();
    c.moveTo(at(0), TOP);
    c.lineTo(at(0), TOP + h);
    c.stroke();
  }
  if (data.same) {
    c.strokeStyle = palette.soft;
    c.setLineDash([5, 4]);
    c.beginPath();
    c.moveTo(at(x0), up(x0));
    c.lineTo(at(x1), up(x1));
    c.stroke();
    c.setLineDash([]);
  }
  // Two paths for all points: as many strokes as points would take as many times as long.
  const [dots, rings] = [new Path2D(), new Path2D()];
  for (let i = 0; i < data.x.length; i++) {
    const [px, py] = [at(data.x[i]), up(data.y[i])];
    const path = clip !== undefined && isFlat(data.x[i], data.y[i], clip) ? rings : dots;
    path.moveTo(px + 2.4, py);
    path.arc(px, py, 2.4, 0, 2 * Math.PI);
  }
  c.globalAlpha = 0.6;
  c.fillStyle = palette.data;
  c.fill(dots);
  c.globalAlpha = 0.9;
  c.strokeStyle = palette.other;
  c.lineWidth = 1.3;
  c.stroke(rings);
  c.globalAlpha = 1;
  c.restore();
}
