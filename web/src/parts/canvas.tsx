// A canvas as sharp as the screen, painted whenever the pictures, the theme or its size change.

import { useEffect, useRef } from "preact/hooks";
import { effect } from "@preact/signals";
import { painted } from "../core/session";
import { theme } from "../core/theme";
import type { Theme } from "../draw/palette";

export type Paint = (c: CanvasRenderingContext2D, width: number, height: number, theme: Theme) => void;

interface Props {
  paint: Paint;
  label?: string;
  class?: string;
  /** Width by height; else as the style sheet says. */
  ratio?: number;
  /** What it shows does not follow the pictures: painted when it is rendered, and with the theme. */
  still?: boolean;
}

/** Painted on every frame; `paint` is read anew each time, so that it sees the newest properties. */
export function Canvas({ paint, label, class: name, ratio, still = false }: Props) {
  const ref = useRef<HTMLCanvasElement>(null);
  const newest = useRef(paint);
  newest.current = paint;
  const again = useRef<() => void>(() => {});
  useEffect(() => {
    const canvas = ref.current;
    const c = canvas?.getContext("2d");
    if (!canvas || !c) return;
    let [width, height] = [0, 0];
    const draw = () => {
      if (width < 1 || height < 1) return;
      const ratio = devicePixelRatio || 1;
      const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
      if (canvas.width !== w || canvas.height !== h) {
        canvas.width = w;
        canvas.height = h;
      }
      c.setTransform(ratio, 0, 0, ratio, 0, 0);
      newest.current(c, width, height, theme.peek());
    };
    again.current = draw;
    const measure = new ResizeObserver(([entry]) => {
      width = entry.contentRect.width;
      height = entry.contentRect.height;
      draw();
    });
    measure.observe(canvas);
    const stop = effect(() => {
      if (!still) painted.value;
      theme.value;
      draw();
    });
    return () => {
      stop();
      measure.disconnect();
    };
  }, []);
  useEffect(() => {
    if (ref.current && ratio) ref.current.style.aspectRatio = String(ratio);
  }, [ratio]);
  useEffect(() => again.current());
  return <canvas ref={ref} class={name} {...(label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" })} />;
}
