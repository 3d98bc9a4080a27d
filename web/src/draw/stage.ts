// Pictures of environments from their shapes, and from JPEG where there are no shapes.

import { numbers } from "../core/tensor";
import type { Frame, Stage } from "../messages";
import { PALETTES, type Theme } from "./palette";

/** The whole row of numbers of one slot on stage. */
export function rowOf(stage: Stage, frame: Frame | null, slot: number): Float32Array {
  const out = Float32Array.from(numbers(stage.numbers));
  const view = frame?.arrays.view;
  if (!view || slot >= view.s[0]) return out;
  const moving = numbers(view);
  const width = stage.moving.length;
  for (let j = 0; j < width; j++) out[stage.moving[j]] = moving[slot * width + j];
  return out;
}

export const ratioOf = (stage: Stage) => (stage.extent[1] - stage.extent[0]) / (stage.extent[3] - stage.extent[2]);

/** Paint the stage so that all of its extent is in sight. */
export function drawStage(c: CanvasRenderingContext2D, width: number, height: number, stage: Stage, row: Float32Array, theme: Theme): void {
  const roles = PALETTES[theme].roles;
  const [left, right, bottom, top] = stage.extent;
  const scale = Math.min(width / (right - left), height / (top - bottom));
  const [mx, my] = [(left + right) / 2, (bottom + top) / 2];
  const X = (x: number) => width / 2 + (x - mx) * scale;
  const Y = (y: number) => height / 2 - (y - my) * scale;
  c.fillStyle = roles.background;
  c.fillRect(0, 0, width, height);
  c.lineCap = "round";
  c.lineJoin = "round";
  for (const shape of stage.shapes) {
    const { at, counts } = shape;
    const color = roles[shape.color] ?? roles.body;
    const path = () => {
      c.beginPath();
      for (let i = 0; i + 1 < counts[0]; i += 2) c.lineTo(X(row[at + i]), Y(row[at + i + 1]));
    };
    switch (shape.kind) {
      case "polygon":
        path();
        c.fillStyle = color;
        c.fill();
        break;
      case "line":
        path();
        c.strokeStyle = color;
        c.lineWidth = Math.max(1, shape.width * scale);
        c.stroke();
        break;
      case "circle":
        c.beginPath();
        c.arc(X(row[at]), Y(row[at + 1]), Math.max(0, row[at + counts[0]] * scale), 0, 2 * Math.PI);
        c.fillStyle = color;
        c.fill();
        break;
      case "text": {
        const size = shape.size === null ? Math.max(9, width / 30) : shape.size * scale;
        c.font = `500 ${size}px Inter, system-ui, sans-serif`;
        c.textAlign = "center";
        c.textBaseline = "middle";
        c.fillStyle = color;
        const value = counts[1] ? String(Number(row[at + counts[0]].toPrecision(4))) : "";
        c.fillText(shape.text + value, X(row[at]), Y(row[at + 1]));
        break;
      }
      case "tiles":
        for (let i = 0; i < shape.rows * shape.cols; i++) {
          const role = shape.roles[row[at + i]];
          if (!role) continue;
          const x = X((i % shape.cols) + 0.5);
          const y = Y(shape.rows - Math.floor(i / shape.cols) - 0.5);
          const side = shape.width * scale;
          c.fillStyle = roles[role] ?? roles.body;
          c.beginPath();
          if (shape.round) c.arc(x, y, side / 2, 0, 2 * Math.PI);
          else c.rect(x - side / 2, y - side / 2, side, side);
          c.fill();
        }
    }
  }
}
