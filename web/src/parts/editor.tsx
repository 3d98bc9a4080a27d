// The world editor: presets, a brush for cells, a map as text, and the environment's own numbers.

import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { catalogue } from "../core/catalogue";
import { mapOf, recipe, start } from "../core/recipe";
import { can, run } from "../core/session";
import { PALETTES } from "../draw/palette";
import { theme } from "../core/theme";
import type { World } from "../messages";
import { Settings } from "./settings";
import { Button, Dialog, Segments } from "./ui";

/** The letter in hand, "" for none: then cells are asked instead of painted. */
export const brush = signal("");

const ROLES: Record<string, string> = { "#": "muted", G: "goal", C: "danger", H: "danger", ".": "ground", F: "ground", S: "ground" };
const ORDER = [".", "#", "G", "H", "C", "S"];

export function Editor({ world }: { world: World | null }) {
  const now = run.value;
  const [drawing, setDrawing] = useState<string | null>(null);
  const worlds = catalogue.value.worlds;
  const environments = catalogue.value.environments.filter((e) => e.kind === "tabular");
  const choose = (value: string) => {
    brush.value = "";
    const preset = worlds.find((w) => `world:${w.name}` === value);
    if (preset) void start({ env: "", map: preset.map, config: preset.config });
    else void start({ env: value, map: null, config: {} });
  };
  const letters = world ? Object.entries(world.legend).sort(([a], [b]) => ORDER.indexOf(a) - ORDER.indexOf(b)) : [];
  const { map } = recipe.value;
  const drawn = worlds.find((w) => w.map === map);
  const present = now?.env ? now.env : drawn ? `world:${drawn.name}` : "own";
  return (
    <section class="card" aria-labelledby="world">
      <header>
        <h2 id="world">World</h2>
        {world?.painted && can("open") && (
          <Button look="tiny plain" onClick={() => setDrawing(mapOf(world))}>
            Draw as text
          </Button>
        )}
      </header>
      <label class="field">
        <span class="visually-hidden">Environment</span>
        <select value={present} disabled={!can("open")} onChange={(e) => choose(e.currentTarget.value)} data-testid="env">
          {present === "own" && <option value="own">A world of your own</option>}
          {now?.env && !environments.some((e) => e.id === present) && <option value={present}>{present}</option>}
          {environments.map((e) => (
            <option key={e.id} value={e.id} title={e.description}>
              {e.id}
            </option>
          ))}
          {worlds.length > 0 && (
            <optgroup label="Drawn worlds">
              {worlds.map((w) => (
                <option key={w.name} value={`world:${w.name}`}>
                  {w.name}
                </option>
              ))}
            </optgroup>
          )}
        </select>
      </label>
      {world?.painted && can("surgery") && (
        <div class="brushes">
          <Segments
            label="Brush"
            value={brush.value}
            onChange={(letter) => (brush.value = letter)}
            options={[
              { value: "", text: "Ask", title: "No brush: a click asks a cell" },
              ...letters.map(([letter, what]) => ({ value: letter, text: <Swatch letter={letter} />, title: `Paint: ${what}` })),
            ]}
          />
          <p class="small soft">{brush.value ? `Click or drag to paint ${world.legend[brush.value]}. It trains on at once.` : "Click a cell to see how its value came to be."}</p>
        </div>
      )}
      <div class="sliders">
        <Settings group="environment" first={(s) => /slip|reward/.test(s.name)} />
      </div>
      {drawing !== null && <MapDialog text={drawing} legend={world?.legend ?? {}} onClose={() => setDrawing(null)} />}
    </section>
  );
}

function Swatch({ letter }: { letter: string }) {
  const palette = PALETTES[theme.value].roles;
  return (
    <>
      <svg class="swatch" viewBox="0 0 14 14" aria-hidden="true">
        <rect width="14" height="14" rx="3" fill={palette[ROLES[letter] ?? "ground"]} />
      </svg>
      {letter === "." ? "free" : letter}
    </>
  );
}

function MapDialog({ text, legend, onClose }: { text: string; legend: Record<string, string>; onClose: () => void }) {
  const [map, setMap] = useState(text);
  const [failed, setFailed] = useState(false);
  return (
    <Dialog title="A world as text" onClose={onClose}>
      <label class="field">
        <span>
          One line for each row.{" "}
          {Object.entries(legend)
            .map(([letter, what]) => `${letter} ${what}`)
            .join(", ")}
        </span>
        <textarea rows={Math.max(6, map.split("\n").length + 1)} spellcheck={false} value={map} onInput={(e) => setMap(e.currentTarget.value)} />
      </label>
      {failed && <p class="small">This world was refused; the page behind says why.</p>}
      <div class="foot">
        <Button onClick={onClose}>Cancel</Button>
        <Button
          look="primary"
          onClick={() => {
            void start({ env: "", map: map.trim(), config: {} }).then((worked) => (worked ? onClose() : setFailed(true)));
          }}
        >
          Start with this world
        </Button>
      </div>
    </Dialog>
  );
}
