// Play, step, speed, seeds, fork and share: the same in both labs.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { count } from "../core/format";
import type { Shortcut } from "../core/keys";
import { recipe, start } from "../core/recipe";
import { active, ask, can, frames, playing, run, speed, toggle } from "../core/session";
import { Button, Copy, Dialog } from "./ui";

const shared = signal<{ url: string; text: string } | null>(null);

const SLOWEST = 1;
const FASTEST = 5000;
const STOPS = 100;

/** The slider's last stop is "as fast as it goes". */
export function speedAt(stop: number): number | null {
  if (stop >= STOPS) return null;
  const v = SLOWEST * (FASTEST / SLOWEST) ** (stop / (STOPS - 1));
  return v < 20 ? Math.round(v) : Number(v.toPrecision(2));
}

export function stopOf(steps: number | null): number {
  if (steps === null) return STOPS;
  const part = Math.log(Math.max(SLOWEST, steps) / SLOWEST) / Math.log(FASTEST / SLOWEST);
  return Math.min(STOPS - 1, Math.round(part * (STOPS - 1)));
}

export async function fork(): Promise<void> {
  const branch = active.value;
  await ask({ type: "fork", branch, at: frames.get(branch)?.u ?? null });
}

export async function share(): Promise<void> {
  const reply = await ask({ type: "share" });
  const link = reply?.data.link;
  if (typeof link !== "string") return;
  const url = `${location.origin}/${location.search}${link.startsWith("#") ? link : `#${link}`}`;
  shared.value = { url, text: link.replace(/^#?share=/, "") };
}

const step = (unit: "env" | "update" | "episode") => void ask({ type: "step", n: 1, unit });

function faster(by: number): void {
  const to = Math.min(STOPS, Math.max(0, stopOf(speed.value) + by));
  setSpeed(speedAt(to));
}

function setSpeed(steps: number | null): void {
  speed.value = steps;
  void ask({ type: "speed", steps_per_s: steps });
}

export const labKeys = (): Shortcut[] => [
  { key: " ", shown: "Space", what: "Play or pause", run: toggle, when: () => can("play") },
  { key: ".", what: "One step", run: () => step(run.value?.kind === "deep" ? "update" : "env"), when: () => can("step") },
  { key: "e", shown: "E", what: "To the end of an episode", run: () => step("episode"), when: () => can("step") },
  { key: "f", shown: "F", what: "Fork here and compare", run: () => void fork(), when: () => can("fork") },
  { key: "s", shown: "S", what: "Share", run: () => void share(), when: () => can("share") },
  { key: "+", what: "Faster", run: () => faster(5), when: () => can("speed") },
  { key: "-", what: "Slower", run: () => faster(-5), when: () => can("speed") },
];

export function Toolbar({ children }: { children?: preact.ComponentChildren }) {
  const slider = useRef<HTMLInputElement>(null);
  const stop = stopOf(speed.value);
  useEffect(() => slider.current?.style.setProperty("--part", `${(stop / STOPS) * 100}%`));
  const deep = run.value?.kind === "deep";
  const words = speed.value === null ? "as fast as it goes" : `${count(speed.value)} steps/s`;
  const on = playing.value;
  return (
    <div class="toolbar" role="toolbar" aria-label="Training">
      <Button look="primary" icon={on ? "pause" : "play"} hint="Space" disabled={!can("play")} onClick={toggle} data-testid="play">
        {on ? "Pause" : "Play"}
      </Button>
      <Button icon="step" hint="." disabled={!can("step")} onClick={() => step(deep ? "update" : "env")}>
        {deep ? "Update" : "Step"}
      </Button>
      <Button icon="episode" hint="E" disabled={!can("step")} onClick={() => step("episode")}>
        Episode
      </Button>
      <label class="speed">
        <span>Speed</span>
        <input
          ref={slider}
          type="range"
          min={0}
          max={STOPS}
          value={stop}
          disabled={!can("speed")}
          aria-valuetext={words}
          onInput={(e) => setSpeed(speedAt(Number(e.currentTarget.value)))}
        />
        <output>{words}</output>
      </label>
      <span class="space" />
      {children}
      <label class="row small soft">
        Seeds
        <select
          value={String(run.value?.seeds ?? recipe.value.seeds)}
          disabled={!can("open")}
          onChange={(e) => void start({ seeds: Number(e.currentTarget.value) })}
        >
          {[...new Set([1, 2, 4, 10, 30, run.value?.seeds ?? 10])]
            .sort((a, b) => a - b)
            .map((n) => (
              <option key={n} value={n}>
                {n}
              </option>
            ))}
        </select>
      </label>
      <Button icon="fork" hint="F" disabled={!can("fork")} onClick={() => void fork()} data-testid="fork">
        Fork
      </Button>
      <Button icon="share" hint="S" disabled={!can("share")} onClick={() => void share()}>
        Share
      </Button>
      {shared.value && (
        <Dialog title="A link to exactly this" onClose={() => (shared.value = null)}>
          <p class="soft small">
            It holds the configuration and every intervention. Whoever opens it in a hub of their own sees the same run, to the bit.
          </p>
          <label class="field">
            <span>In this hub</span>
            <input type="text" readOnly value={shared.value.url} data-testid="share-url" onFocus={(e) => e.currentTarget.select()} />
          </label>
          <label class="field">
            <span>Anywhere</span>
            <input type="text" readOnly value={`fathom hub --share ${shared.value.text}`} onFocus={(e) => e.currentTarget.select()} />
          </label>
          <div class="foot">
            <Copy text={shared.value.url} what="the link" />
            <Button look="primary" onClick={() => (shared.value = null)}>
              Done
            </Button>
          </div>
        </Dialog>
      )}
    </div>
  );
}
