// One small grid for each seed: the spread is always in sight.

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
  return (
    <ul class="seeds" aria-label="Seeds">
      {Array.from({ length: seeds }, (_, seed) => {
        const value = now ? startValue(now, world, seed) : NaN;
        return (
          <li key={seed}>
            <button type="button" aria-pressed={seed === chosen} onClick={() => onChoose(seed)}>
              <Canvas
                ratio={Math.min(6, shape.cols / shape.rows)}
                paint={(c, width, height, theme) => {
                  const f = frame();
                  const board = f && seed < (f.arrays.agent?.s[0] ?? seeds) ? boardOf(f, world, seed) : null;
                  const small = layer === "q" ? "value" : layer;
                  const range = rangeOf(small, board ? inSight(shape, board, small) : [], known);
                  drawBoard(c, width, height, shape, board, { layer: small, theme, range, detail: false });
                }}
              />
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
  );
}
