// Grid worlds on a canvas: values as shade and number, arrows, visits, errors, traces, the agent.

import { fixed, placesFor } from "../core/format";
import { differenceShade, PALETTES, shade, type Theme } from "./palette";

export const FREE = 0;
export const WALL = 1;
export const GOAL = 2;
export const CLIFF = 3;
export const HOLE = 4;

export type Layer = "value" | "q" | "visits" | "error" | "trace" | "difference";

export interface BoardShape {
  rows: number;
  cols: number;
  /** FREE, WALL, GOAL, CLIFF or HOLE of each cell. */
  cells: ArrayLike<number>;
  /** Weight of each cell as a start. */
  starts: ArrayLike<number>;
  /** One character for each action. */
  arrows: readonly string[];
  wind?: ArrayLike<number> | null;
  /** Whether the agent can choose an action there. */
  acts: ArrayLike<number | boolean>;
  /** Walls between a cell and the one to its right. */
  fences?: ArrayLike<number | boolean> | null;
  /** What is written in a cell, "" for nothing. */
  letters?: readonly string[] | null;
}

export interface BoardFrame {
  /** Q(s, a) by cell, row-major [cell, action]; NaN where unknown. */
  q: ArrayLike<number>;
  actions: number;
  visits?: ArrayLike<number> | null;
  error?: ArrayLike<number> | null;
  trace?: ArrayLike<number> | null;
  /** Value of each cell where there is no Q (prediction), or the difference of two runs. */
  value?: ArrayLike<number> | null;
  agent: number;
}

const HEADINGS: Record<string, readonly [number, number]> = {
  "↑": [0, -1],
  "→": [1, 0],
  "↓": [0, 1],
  "←": [-1, 0],
  "↗": [1, -1],
  "↘": [1, 1],
  "↙": [-1, 1],
  "↖": [-1, -1],
};

/** max_a Q(s, a) for each cell; NaN where nothing is known. */
export function maxima(frame: BoardFrame, cells: number): Float64Array {
  const out = new Float64Array(cells).fill(NaN);
  if (frame.value) {
    for (let i = 0; i < cells; i++) out[i] = frame.value[i];
    return out;
  }
  for (let i = 0; i < cells; i++) {
    for (let a = 0; a < frame.actions; a++) {
      const v = frame.q[i * frame.actions + a];
      if (!(out[i] >= v)) out[i] = v;
    }
  }
  return out;
}

/** The actions that are greedy in a cell, ties within float32's rounding included. */
export function greedy(frame: BoardFrame, cell: number): number[] {
  const at = cell * frame.actions;
  let best = -Infinity;
  for (let a = 0; a < frame.actions; a++) best = Math.max(best, Number.isNaN(frame.q[at + a]) ? -Infinity : frame.q[at + a]);
  if (best === -Infinity) return [];
  const close = 1e-6 * Math.max(1, Math.abs(best));
  const found = [];
  for (let a = 0; a < frame.actions; a++) if (frame.q[at + a] >= best - close) found.push(a);
  return found;
}

/** The numbers that a layer shows, one for each cell. */
export function layerValues(layer: Layer, frame: BoardFrame, cells: number): Float64Array {
  const of = (x: ArrayLike<number> | null | undefined) => {
    const out = new Float64Array(cells);
    if (!x) return out.fill(NaN);
    for (let i = 0; i < cells; i++) out[i] = x[i];
    return out;
  };
  switch (layer) {
    case "visits":
      return of(frame.visits);
    case "error":
      return of(frame.error);
    case "trace":
      return of(frame.trace);
    case "difference":
      return of(frame.value);
    default:
      return maxima(frame, cells);
  }
}

export interface DrawOptions {
  layer: Layer;
  theme: Theme;
  range: readonly [number, number];
  /** Draw numbers and arrows where they fit. */
  detail: boolean;
  selected?: number;
  /** The last cells the agent was in, newest last. */
  trail?: readonly number[];
}

/** Adds an arrow to a path of shafts and one of heads. */
function arrow(shafts: Path2D, heads: Path2D, x: number, y: number, dx: number, dy: number, size: number, from: number): void {
  const norm = Math.hypot(dx, dy);
  const [ux, uy] = [dx / norm, dy / norm];
  const tip = size * 0.5;
  const head = size * 0.26;
  shafts.moveTo(x + ux * from, y + uy * from);
  shafts.lineTo(x + ux * (tip - head * 0.8), y + uy * (tip - head * 0.8));
  heads.moveTo(x + ux * tip, y + uy * tip);
  heads.lineTo(x + ux * (tip - head) - uy * head * 0.62, y + uy * (tip - head) + ux * head * 0.62);
  heads.lineTo(x + ux * (tip - head) + uy * head * 0.62, y + uy * (tip - head) - ux * head * 0.62);
  heads.closePath();
}

const masks = new Map<string, HTMLCanvasElement>();
const MASKS = 24;

/** Opaque where cells are, at the canvas's own resolution; made once for each size and kept. */
function maskOf(c: CanvasRenderingContext2D, width: number, height: number, rows: number, cols: number, gap: number, radius: number): HTMLCanvasElement {
  const ratio = c.getTransform().a;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  const key = `${w} ${h} ${rows} ${cols} ${gap} ${radius}`;
  let mask = masks.get(key);
  if (!mask) {
    if (masks.size >= MASKS) masks.clear();
    mask = document.createElement("canvas");
    [mask.width, mask.height] = [w, h];
    const m = mask.getContext("2d")!;
    m.scale(w / width, h / height);
    const side = Math.min(width / cols, height / rows);
    const [left, top] = [(width - side * cols) / 2, (height - side * rows) / 2];
    m.beginPath();
    for (let i = 0; i < rows * cols; i++) m.roundRect(left + (i % cols) * side + gap, top + Math.floor(i / cols) * side + gap, side - 2 * gap, side - 2 * gap, radius);
    m.fill();
    masks.set(key, mask);
  }
  return mask;
}

function roundRect(c: CanvasRenderingContext2D, x: number, y: number, w: number, h: number, r: number): void {
  c.beginPath();
  c.roundRect(x, y, w, h, r);
}

const FONT = 'Inter, "SF Pro Text", "Segoe UI", system-ui, sans-serif';

/** Paint a board over `width` by `height` CSS pixels: the whole canvas, or what it is clipped to. */
export function drawBoard(
  c: CanvasRenderingContext2D,
  width: number,
  height: number,
  shape: BoardShape,
  frame: BoardFrame | null,
  options: DrawOptions,
): void {
  const { rows, cols } = shape;
  const { theme, layer, detail } = options;
  const palette = PALETTES[theme];
  const side = Math.min(width / cols, height / rows);
  const left = (width - side * cols) / 2;
  const top = (height - side * rows) / 2;
  const gap = detail ? Math.max(1, side * 0.028) : side > 8 ? 0.75 : 0;
  const radius = detail ? Math.min(10, side * 0.1) : Math.min(2, side * 0.12);
  const cells = rows * cols;
  c.clearRect(0, 0, width, height);
  const shown = frame ? layerValues(layer, frame, cells) : new Float64Array(cells).fill(NaN);
  const [low, high] = options.range;
  const span = high - low || 1;
  let largest = 0;
  for (let i = 0; i < cells; i++) if (Math.abs(shown[i]) > largest && Number.isFinite(shown[i])) largest = Math.abs(shown[i]);
  const places = layer === "visits" ? 0 : placesFor(largest);
  const triangles = layer === "q" && shape.arrows.length === 4 && shape.arrows.every((a) => HEADINGS[a] && !HEADINGS[a].every(Boolean));

  // Colours as plain rectangles, then one mask for all corners and gaps: a path for each cell took most of
  // a picture's time.
  for (let i = 0; i < cells; i++) {
    const kind = shape.cells[i];
    const value = shown[i];
    const known = Boolean(shape.acts[i]) && Number.isFinite(value);
    const [x, y] = [left + (i % cols) * side, top + Math.floor(i / cols) * side];
    c.fillStyle = palette.roles.ground;
    if (kind === WALL) c.fillStyle = palette.roles.muted;
    else if (kind === GOAL) c.fillStyle = palette.roles.goal;
    else if (kind === CLIFF || kind === HOLE) c.fillStyle = palette.roles.danger;
    else if (known && layer === "difference") c.fillStyle = differenceShade(theme, value / (Math.max(Math.abs(low), Math.abs(high)) || 1));
    else if (known && !(layer === "q" && detail)) c.fillStyle = shade(theme, (value - low) / span);
    c.fillRect(x, y, side, side);
    if (known && layer === "q" && frame && detail) {
      const w = side - 2 * gap;
      if (triangles) drawTriangles(c, x + gap, y + gap, w, shape, frame, i, options);
      else drawNine(c, x + gap, y + gap, w, shape, frame, i, options);
    }
  }
  const mask = maskOf(c, width, height, rows, cols, gap, radius);
  c.globalCompositeOperation = "destination-in";
  c.drawImage(mask, 0, 0, width, height);
  c.globalCompositeOperation = "source-over";
  if (detail && side >= 14) {
    for (let i = 0; i < cells; i++) drawSign(c, left + (i % cols) * side + gap, top + Math.floor(i / cols) * side + gap, side - 2 * gap, shape, i, palette);
  }
  if (detail && frame && side >= 26 && layer === "value" && !frame.value) drawChoices(c, left, top, side, shape, frame, shown, palette.roles.body);
  if (shape.fences) {
    c.strokeStyle = palette.roles.body;
    c.lineWidth = Math.max(1.5, side * 0.05);
    for (let i = 0; i < cells; i++) {
      if (!shape.fences[i]) continue;
      const x = left + ((i % cols) + 1) * side;
      const y = top + Math.floor(i / cols) * side;
      c.beginPath();
      c.moveTo(x, y);
      c.lineTo(x, y + side);
      c.stroke();
    }
  }
  if (frame && frame.agent >= 0) drawAgent(c, left, top, side, cols, frame.agent, palette, options.trail, !detail ? 0.28 : layer === "q" ? 0.09 : 0.15, detail && layer !== "q" ? 0.08 : 0);
  if (detail && side >= 26 && layer !== "q") {
    c.textAlign = "center";
    c.textBaseline = "alphabetic";
    c.fillStyle = palette.roles.body;
    const size = Math.max(9, Math.min(17, side * 0.2));
    c.font = `500 ${size}px ${FONT}`;
    for (let i = 0; i < cells; i++) {
      if (!shape.acts[i] || !Number.isFinite(shown[i])) continue;
      const text = (layer === "difference" && shown[i] > 0 ? "+" : "") + fixed(shown[i], places);
      c.fillText(text, left + ((i % cols) + 0.5) * side, top + (Math.floor(i / cols) + 1) * side - side * 0.12, side * 0.92);
    }
  }
  if (options.selected !== undefined && options.selected >= 0) {
    const i = options.selected;
    const inset = Math.max(1, side * 0.02);
    roundRect(c, left + (i % cols) * side + inset, top + Math.floor(i / cols) * side + inset, side - 2 * inset, side - 2 * inset, radius);
    c.strokeStyle = palette.other;
    c.lineWidth = Math.max(2, side * 0.03);
    c.stroke();
  }
}

function drawSign(c: CanvasRenderingContext2D, x: number, y: number, w: number, shape: BoardShape, i: number, palette: (typeof PALETTES)["light"]): void {
  const kind = shape.cells[i];
  const letter = shape.letters?.[i] || (kind === GOAL ? "G" : kind === CLIFF ? "C" : kind === HOLE ? "H" : "");
  c.textAlign = "center";
  c.textBaseline = "middle";
  if (letter && kind !== WALL) {
    const alone = kind === GOAL || kind === CLIFF || kind === HOLE;
    c.fillStyle = alone ? palette.roles.background : palette.soft;
    c.font = `600 ${w * (alone ? 0.34 : 0.18)}px ${FONT}`;
    c.fillText(letter, alone ? x + w / 2 : x + w * 0.14, alone ? y + w / 2 : y + w * 0.15);
  } else if (kind === FREE && shape.starts[i] > 0) {
    c.fillStyle = palette.soft;
    c.font = `600 ${Math.max(8, w * 0.16)}px ${FONT}`;
    c.fillText("S", x + w * 0.14, y + w * 0.15);
  }
}

/** What is greedy in each cell, as arrows: two paths for all of them. */
function drawChoices(c: CanvasRenderingContext2D, left: number, top: number, side: number, shape: BoardShape, frame: BoardFrame, shown: ArrayLike<number>, ink: string): void {
  const [shafts, heads] = [new Path2D(), new Path2D()];
  c.strokeStyle = ink;
  c.fillStyle = ink;
  c.lineCap = "round";
  c.lineWidth = Math.max(1.2, side * 0.032);
  for (let i = 0; i < shown.length; i++) {
    if (!shape.acts[i] || !Number.isFinite(shown[i])) continue;
    const best = greedy(frame, i);
    // All as good: nothing is preferred yet.
    if (best.length === 0 || (best.length === shape.arrows.length && best.length > 1)) continue;
    const x = left + ((i % shape.cols) + 0.5) * side;
    const middle = top + (Math.floor(i / shape.cols) + 0.5) * side - side * 0.08;
    const others = [];
    for (const a of best) {
      const heading = HEADINGS[shape.arrows[a]];
      if (heading) arrow(shafts, heads, x, middle, heading[0], heading[1], side * (best.length === 1 ? 0.5 : 0.46), best.length === 1 ? -side * 0.2 : side * 0.05);
      else others.push(shape.arrows[a]);
    }
    if (others.length) {
      c.textAlign = "center";
      c.textBaseline = "middle";
      c.font = `600 ${side * 0.2}px ${FONT}`;
      c.fillText(others.join(" "), x, middle);
    }
  }
  c.stroke(shafts);
  c.fill(heads);
}

function drawAgent(
  c: CanvasRenderingContext2D,
  left: number,
  top: number,
  side: number,
  cols: number,
  agent: number,
  palette: (typeof PALETTES)["light"],
  trail: readonly number[] | undefined,
  radius: number,
  raised: number,
): void {
  const at = (i: number): [number, number] => [left + ((i % cols) + 0.5) * side, top + (Math.floor(i / cols) + 0.5) * side - side * raised];
  if (trail && trail.length > 1) {
    c.strokeStyle = palette.roles.accent;
    c.lineWidth = Math.max(1, side * 0.03);
    c.globalAlpha = 0.35;
    c.beginPath();
    trail.forEach((i, n) => (n ? c.lineTo(...at(i)) : c.moveTo(...at(i))));
    c.stroke();
    c.globalAlpha = 1;
  }
  const [x, y] = at(agent);
  const r = side * radius;
  c.beginPath();
  c.arc(x, y, r + Math.max(1, side * 0.035), 0, 2 * Math.PI);
  c.fillStyle = palette.roles.background;
  c.fill();
  c.beginPath();
  c.arc(x, y, r, 0, 2 * Math.PI);
  c.fillStyle = palette.roles.accent;
  c.fill();
}

function drawTriangles(
  c: CanvasRenderingContext2D,
  x: number,
  y: number,
  w: number,
  shape: BoardShape,
  frame: BoardFrame,
  cell: number,
  options: DrawOptions,
): void {
  const { theme, range } = options;
  const palette = PALETTES[theme];
  const span = range[1] - range[0] || 1;
  const best = new Set(greedy(frame, cell));
  const everyOne = best.size === shape.arrows.length;
  const [cx, cy] = [x + w / 2, y + w / 2];
  let largest = 0;
  for (let a = 0; a < 4; a++) largest = Math.max(largest, Math.abs(frame.q[cell * 4 + a]) || 0);
  shape.arrows.forEach((sign, a) => {
    const [dx, dy] = HEADINGS[sign];
    const value = frame.q[cell * 4 + a];
    const [px, py] = [-dy, dx];
    c.beginPath();
    c.moveTo(cx, cy);
    c.lineTo(cx + (dx + px) * (w / 2), cy + (dy + py) * (w / 2));
    c.lineTo(cx + (dx - px) * (w / 2), cy + (dy - py) * (w / 2));
    c.closePath();
    c.fillStyle = Number.isFinite(value) ? shade(theme, (value - range[0]) / span) : palette.roles.ground;
    c.fill();
  });
  c.strokeStyle = palette.roles.background;
  c.lineWidth = Math.max(1, w * 0.016);
  c.beginPath();
  c.moveTo(x, y);
  c.lineTo(x + w, y + w);
  c.moveTo(x + w, y);
  c.lineTo(x, y + w);
  c.stroke();
  if (w >= 44) {
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillStyle = palette.roles.body;
    const size = Math.max(8, Math.min(13, w * 0.135));
    shape.arrows.forEach((sign, a) => {
      const [dx, dy] = HEADINGS[sign];
      const value = frame.q[cell * 4 + a];
      c.font = `${best.has(a) && !everyOne ? 700 : 400} ${size}px ${FONT}`;
      c.fillText(fixed(value, placesFor(largest)), cx + dx * w * 0.3, cy + dy * w * 0.36, w * 0.42);
    });
  }
}

/** Actions of any kind as a square of nine: headings at their side, staying and others in what is left. */
function drawNine(
  c: CanvasRenderingContext2D,
  x: number,
  y: number,
  w: number,
  shape: BoardShape,
  frame: BoardFrame,
  cell: number,
  options: DrawOptions,
): void {
  const { theme, range } = options;
  const palette = PALETTES[theme];
  const span = range[1] - range[0] || 1;
  const best = new Set(greedy(frame, cell));
  const n = Math.max(3, Math.ceil(Math.sqrt(shape.arrows.length)));
  const third = w / n;
  const taken = new Set<number>();
  const places: number[] = [];
  for (const sign of shape.arrows) {
    const heading = HEADINGS[sign];
    const place = heading && n === 3 ? (heading[1] + 1) * 3 + heading[0] + 1 : sign === "·" && n === 3 ? 4 : -1;
    places.push(place);
    if (place >= 0) taken.add(place);
  }
  let next = 0;
  for (let a = 0; a < places.length; a++) {
    if (places[a] >= 0) continue;
    while (taken.has(next)) next++;
    places[a] = next;
    taken.add(next);
  }
  let largest = 0;
  for (let a = 0; a < frame.actions; a++) largest = Math.max(largest, Math.abs(frame.q[cell * frame.actions + a]) || 0);
  for (let a = 0; a < frame.actions; a++) {
    const value = frame.q[cell * frame.actions + a];
    const [px, py] = [x + (places[a] % n) * third, y + Math.floor(places[a] / n) * third];
    c.fillStyle = Number.isFinite(value) ? shade(theme, (value - range[0]) / span) : palette.roles.ground;
    c.fillRect(px, py, third - 0.5, third - 0.5);
    if (third >= 20) {
      c.textAlign = "center";
      c.textBaseline = "middle";
      c.fillStyle = palette.roles.body;
      c.font = `${best.has(a) ? 700 : 400} ${Math.min(11, third * 0.36)}px ${FONT}`;
      c.fillText(fixed(value, placesFor(largest)), px + third / 2, py + third / 2, third * 0.96);
    }
  }
}

/** The range of shades: wide enough for all that is shown and for what is known to be reached. */
export function rangeOf(layer: Layer, values: ArrayLike<number>, known: readonly [number, number] | null): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const v = values[i];
    if (!Number.isFinite(v)) continue;
    if (v < low) low = v;
    if (v > high) high = v;
  }
  if (low > high) [low, high] = [0, 1];
  if (layer === "visits" || layer === "trace") low = 0;
  if (layer === "difference" || layer === "error") {
    const size = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return layer === "difference" ? [-size, size] : [Math.min(0, low), Math.max(high, 1e-9)];
  }
  if (known && (layer === "value" || layer === "q")) {
    low = Math.min(low, known[0]);
    high = Math.max(high, known[1]);
  }
  return [low, high > low ? high : low + 1];
}

/** Two runs of one world: the second's values minus the first's. */
export function differenceOf(one: BoardFrame, two: BoardFrame, cells: number): BoardFrame {
  const [a, b] = [maxima(one, cells), maxima(two, cells)];
  return { q: new Float32Array(0), actions: 0, value: a.map((v, i) => b[i] - v), agent: -1 };
}
