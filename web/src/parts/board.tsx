// The large grid: a canvas under a real ARIA grid, with a summary and a table that say the same.

import { useEffect, useRef } from "preact/hooks";
import { signal } from "@preact/signals";
import { fixed, short } from "../core/format";
import { slow } from "../core/session";
import { type BoardFrame, type BoardShape, drawBoard, FREE, GOAL, greedy, type Layer, layerValues, maxima, rangeOf, WALL } from "../draw/board";
import { Canvas } from "./canvas";

export const LAYERS: { value: Layer; text: string; title: string; says: string }[] = [
  { value: "value", text: "max Q", title: "Largest action value and greedy actions", says: "value" },
  { value: "q", text: "all Q", title: "Every action's value", says: "value" },
  { value: "visits", text: "visits", title: "How often each state was acted in", says: "visits" },
  { value: "error", text: "TD error", title: "Size of the last temporal-difference error", says: "TD error" },
  { value: "trace", text: "traces", title: "Eligibility traces", says: "trace" },
];

const KIND_NAMES = ["", "wall", "goal", "cliff", "hole"];

interface Props {
  label: string;
  shape: BoardShape;
  /** Read anew for every picture. */
  frame: () => BoardFrame | null;
  layer: Layer;
  known?: readonly [number, number] | null;
  selected?: number;
  names: readonly string[];
  trail?: () => readonly number[];
  /** With a tool in hand, cells are painted instead of asked. */
  painting?: boolean;
  onCell?: (cell: number) => void;
  largest?: number;
}

const held = signal(false);

/** What a cell says to those who do not see it. */
export function cellText(shape: BoardShape, frame: BoardFrame | null, cell: number, layer: Layer, names: readonly string[], values: ArrayLike<number>): string {
  const words = [`row ${Math.floor(cell / shape.cols) + 1}, column ${(cell % shape.cols) + 1}`];
  const kind = KIND_NAMES[shape.cells[cell]];
  if (kind) words.push(kind);
  else if (shape.starts[cell] > 0) words.push("start");
  if (shape.letters?.[cell]) words.push(`marked ${shape.letters[cell]}`);
  if (frame && shape.acts[cell]) {
    const value = values[cell];
    if (Number.isFinite(value)) words.push(`${layer === "value" || layer === "q" ? "value" : (LAYERS.find((l) => l.value === layer)?.says ?? "difference")} ${fixed(value, 3)}`);
    const best = greedy(frame, cell);
    if (best.length && best.length < shape.arrows.length) words.push(`best ${best.map((a) => names[a] ?? a).join(" or ")}`);
  }
  if (frame?.agent === cell) words.push("the agent is here");
  return words.join(", ");
}

export function Board({ label, shape, frame, layer, known = null, selected = -1, names, trail, painting = false, onCell, largest = 640 }: Props) {
  const cells = shape.rows * shape.cols;
  const grid = useRef<HTMLDivElement>(null);
  const at = useRef(0);
  slow.value;
  const now = frame();
  const values = now ? layerValues(layer, now, cells) : [];
  const texts = Array.from({ length: cells }, (_, i) => cellText(shape, now, i, layer, names, values));
  const stage = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const style = stage.current?.style;
    if (!style) return;
    style.setProperty("--ratio", String(shape.cols / shape.rows));
    style.setProperty("--largest", `${Math.round(largest * Math.max(1, Math.min(2, shape.cols / shape.rows)))}px`);
  }, [shape.cols, shape.rows, largest]);
  useEffect(() => {
    const up = () => (held.value = false);
    addEventListener("pointerup", up);
    return () => removeEventListener("pointerup", up);
  }, []);
  const move = (event: KeyboardEvent) => {
    const [r, c] = [Math.floor(at.current / shape.cols), at.current % shape.cols];
    const to = {
      ArrowUp: [r - 1, c],
      ArrowDown: [r + 1, c],
      ArrowLeft: [r, c - 1],
      ArrowRight: [r, c + 1],
      Home: [r, 0],
      End: [r, shape.cols - 1],
      PageUp: [0, c],
      PageDown: [shape.rows - 1, c],
    }[event.key];
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      onCell?.(at.current);
      return;
    }
    if (!to) return;
    event.preventDefault();
    const [row, col] = [Math.min(shape.rows - 1, Math.max(0, to[0])), Math.min(shape.cols - 1, Math.max(0, to[1]))];
    at.current = row * shape.cols + col;
    cellAt(at.current)?.focus();
  };
  const cellAt = (i: number) => grid.current?.querySelector<HTMLElement>(`[data-cell="${i}"]`);
  const touch = (event: PointerEvent, first: boolean) => {
    // A finger keeps its first target: look for what lies under it.
    const under = document.elementFromPoint(event.clientX, event.clientY)?.closest<HTMLElement>("[data-cell]");
    if (!under || !grid.current?.contains(under)) return;
    const cell = Number(under.dataset.cell);
    if (!first && cell === at.current) return;
    at.current = cell;
    onCell?.(cell);
  };
  if (at.current >= cells) at.current = 0;
  return (
    <div class={`stage ${painting ? "painting" : ""}`} ref={stage}>
      <Canvas
        paint={(c, width, height, theme) => {
          const board = frame();
          const range = rangeOf(layer, board ? inSight(shape, board, layer) : [], known);
          drawBoard(c, width, height, shape, board, { layer, theme, range, detail: true, selected, trail: trail?.() });
        }}
      />
      <div role="grid" aria-label={label} aria-rowcount={shape.rows} aria-colcount={shape.cols} ref={grid} onKeyDown={move}>
        {Array.from({ length: shape.rows }, (_, r) => (
          <div role="row" key={r} aria-rowindex={r + 1}>
            {Array.from({ length: shape.cols }, (_, c) => {
              const i = r * shape.cols + c;
              return (
                <div
                  key={c}
                  role="gridcell"
                  data-cell={i}
                  aria-colindex={c + 1}
                  aria-selected={i === selected}
                  tabIndex={i === at.current ? 0 : -1}
                  onFocus={() => {
                    at.current = i;
                  }}
                  onPointerDown={(e) => {
                    if (e.button !== 0) return;
                    held.value = true;
                    if (painting) e.currentTarget.releasePointerCapture?.(e.pointerId);
                    touch(e, true);
                  }}
                  onPointerMove={(e) => {
                    if (painting && held.value) touch(e, false);
                  }}
                >
                  {texts[i]}
                </div>
              );
            })}
          </div>
        ))}
      </div>
    </div>
  );
}

/** All that a layer shows, of cells in which something is decided: others have numbers that mean nothing. */
export function inSight(shape: BoardShape, board: BoardFrame, layer: Layer): Float64Array {
  const cells = shape.rows * shape.cols;
  const width = layer === "q" && !board.value ? board.actions : 1;
  const out = width > 1 ? Float64Array.from(board.q) : layerValues(layer, board, cells);
  for (let i = 0; i < out.length; i++) if (!shape.acts[Math.floor(i / width)]) out[i] = NaN;
  return out;
}

interface TableProps {
  shape: BoardShape;
  frame: BoardFrame | null;
  names: readonly string[];
  exact: ArrayLike<number> | null;
}

/** The same numbers as a table. */
export function BoardTable({ shape, frame, names, exact }: TableProps) {
  if (!frame) return <p class="soft">No values yet.</p>;
  const cells = shape.rows * shape.cols;
  const values = maxima(frame, cells);
  const shown = Array.from({ length: cells }, (_, i) => i).filter((i) => shape.acts[i]);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Values of all cells">
      <table>
        <thead>
          <tr>
            <th scope="col">Cell</th>
            <th scope="col">Best</th>
            <th scope="col" class="num">Value</th>
            {exact && <th scope="col" class="num">Exact</th>}
            {!frame.value && names.map((name) => <th key={name} scope="col" class="num">{name}</th>)}
            {frame.visits && <th scope="col" class="num">Visits</th>}
            {frame.error && <th scope="col" class="num">TD error</th>}
            {frame.trace && <th scope="col" class="num">Trace</th>}
          </tr>
        </thead>
        <tbody>
          {shown.map((i) => {
            const best = greedy(frame, i);
            return (
              <tr key={i} class={frame.agent === i ? "best" : ""}>
                <th scope="row">
                  {Math.floor(i / shape.cols) + 1}, {(i % shape.cols) + 1}
                  {shape.cells[i] === GOAL ? " goal" : shape.cells[i] !== FREE && shape.cells[i] !== WALL ? ` ${KIND_NAMES[shape.cells[i]]}` : ""}
                  {frame.agent === i ? " · agent" : ""}
                </th>
                <td>{best.length === shape.arrows.length ? "any" : best.map((a) => names[a]).join(", ")}</td>
                <td class="num">{fixed(values[i], 3)}</td>
                {exact && <td class="num">{fixed(exact[i], 3)}</td>}
                {!frame.value && names.map((name, a) => <td key={name} class="num">{fixed(frame.q[i * frame.actions + a], 3)}</td>)}
                {frame.visits && <td class="num">{fixed(frame.visits[i], 0)}</td>}
                {frame.error && <td class="num">{short(frame.error[i])}</td>}
                {frame.trace && <td class="num">{short(frame.trace[i])}</td>}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
