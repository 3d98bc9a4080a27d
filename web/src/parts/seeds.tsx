// One small grid for each seed: the spread is always in sight.
// All are painted on one canvas that lies over the buttons: a browser spends more on each canvas than on what is in it.

import { useEffect, useRef } from "preact/hooks";
import { fixed } from "../core/format";
import { slow } from "../core/session";
import type { Frame, World } from "../messages";
import { drawBoard, type Layer, rangeOf } from "../draw/board";
import { boardOf, shapeOf, startValue } from "../draw/world";
import { inSight } from "./board";
import { Canvas } from "./canvas";

interface Props {
  world: World;
  frame: () => Frame | null;
  seeds: number;
  chosen: number;
  layer: Layer;
  known: readonly [number, number] | null;
  onChoose: (seed: number) => void;
}

export function SeedGrids({ world, frame, seeds, chosen, layer, known, onChoose }: Props) {
  slow.value;
  const shape = shapeOf(world);
  const now = frame();
  const list = useRef<HTMLUListElement>(null);
  const places = useRef<Place[] | null>(null);
  places.current = null;
  const ratio = Math.min(6, shape.cols / shape.rows);
  useEffect(() => list.current?.style.setProperty("--ratio", String(ratio)), [ratio]);
  return (
    <div class="seeds-over">
      <ul class="seeds" aria-label="Seeds" ref={list}>
        {Array.from({ length: seeds }, (_, seed) => {
          const value = now ? startValue(now, world, seed) : NaN;
          return (
            <li key={seed}>
              <button type="button" aria-pressed={seed === chosen} onClick={() => onChoose(seed)}>
                <span class="place" />
                <span class="caption">
                  <span>
                    <span class="visually-hidden">Seed </span>
                    {seed}
                  </span>
                  <b>
                    <span class="visually-hidden">, value of the start </span>
                    {Number.isNaN(value) ? "" : fixed(value, 2)}
                  </b>
                </span>
              </button>
            </li>
          );
        })}
      </ul>
      <Canvas
        paint={(c, width, height, theme) => {
          places.current ??= placesIn(list.current);
          c.clearRect(0, 0, width, height);
          const f = frame();
          const small = layer === "q" ? "value" : layer;
          places.current.forEach(({ x, y, w, h }, seed) => {
            const board = f && seed < (f.arrays.agent?.s[0] ?? seeds) ? boardOf(f, world, seed) : null;
            const range = rangeOf(small, board ? inSight(shape, board, small) : [], known);
            c.save();
            c.translate(x, y);
            c.beginPath();
            c.rect(0, 0, w, h);
            c.clip();
            drawBoard(c, w, h, shape, board, { layer: small, theme, range, detail: false });
            c.restore();
          });
        }}
      />
    </div>
  );
}

interface Place {
  x: number;
  y: number;
  w: number;
  h: number;
}

/** Where the grids go, from the list's corner. */
function placesIn(list: HTMLUListElement | null): Place[] {
  if (!list) return [];
  const corner = list.getBoundingClientRect();
  return [...list.querySelectorAll(".place")].map((place) => {
    const { x, y, width, height } = place.getBoundingClientRect();
    // Whole pixels: between two of them edges would blur.
    return { x: Math.round(x - corner.x), y: Math.round(y - corner.y), w: Math.round(width), h: Math.round(height) };
  });
}
