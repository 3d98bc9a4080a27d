// The legend of shades.

import { shade, type Theme } from "./palette";

export function drawScale(c: CanvasRenderingContext2D, width: number, height: number, theme: Theme): void {
  const fill = c.createLinearGradient(0, 0, width, 0);
  for (const part of [0, 0.5, 1]) fill.addColorStop(part, shade(theme, part));
  c.fillStyle = fill;
  c.fillRect(0, 0, width, height);
}
