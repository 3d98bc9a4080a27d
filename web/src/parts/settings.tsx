// The settings of a run: sliders for what can change while it trains, fields for what needs a new run.

import { signal } from "@preact/signals";
import { recipe, start } from "../core/recipe";
import { active, ask, can, frames, run, settingsAt, slow } from "../core/session";
import { parse } from "../core/format";
import type { Setting } from "../messages";
import { Button, Segments, Slider } from "./ui";

/** Changes that wait for a new run. */
const pending = signal<Record<string, unknown>>({});

const plainName = (name: string) => name.replace(/^env\./, "").replace(/^reward_(.*)$/, "reward: $1").replaceAll("_", " ");

export function valuesNow(): Record<string, unknown> {
  slow.value;
  const branch = active.value;
  return settingsAt(branch, frames.get(branch)?.u ?? Infinity);
}

interface Props {
  group: Setting["group"];
  /** Which settings are in sight; the others are folded. */
  first?: (setting: Setting) => boolean;
}

export function Settings({ group, first = () => true }: Props) {
  const now = run.value;
  if (!now) return null;
  const composed = new Set(now.settings.flatMap((s) => s.fields));
  const mine = now.settings.filter((s) => s.group === group && !composed.has(s.name));
  const live = mine.filter((s) => s.live && s.kind === "float");
  // Two settings of one symbol side by side would be taken for one another.
  const wanted = live.filter(first);
  const shown = wanted.filter((s) => s.symbol === "" || wanted.find((other) => other.symbol === s.symbol) === s);
  const more = live.filter((s) => !shown.includes(s));
  const fixed = mine.filter((s) => !live.includes(s) && s.kind !== "list");
  const values = valuesNow();
  return (
    <>
      {shown.map((s) => (
        <Live key={s.name} setting={s} value={valueOf(s, values)} />
      ))}
      {(more.length > 0 || fixed.length > 0) && (
        <details class="fold">
          <summary>More settings</summary>
          {more.map((s) => (
            <Live key={s.name} setting={s} value={valueOf(s, values)} />
          ))}
          {fixed.length > 0 && can("open") && <Fixed settings={fixed} />}
        </details>
      )}
    </>
  );
}

function valueOf(setting: Setting, values: Record<string, unknown>): number {
  const mine = values[setting.name];
  // Of several fields together, what was set last on one of them.
  if (setting.fields.length && setting.fields.some((f) => f in values)) {
    const field = values[setting.fields[setting.fields.length - 1]];
    if (typeof field === "number" && mine === setting.value && field !== setting.value) return field;
  }
  return typeof mine === "number" ? mine : Number(mine);
}

function Live({ setting, value }: { setting: Setting; value: number }) {
  const { name, symbol, doc, low, high, scale } = setting;
  const bounds = [low ?? Math.min(0, value), high ?? (value > 0 ? 2 * value : 1)];
  return (
    <Slider
      name={plainName(name)}
      symbol={symbol}
      doc={doc}
      value={value}
      low={bounds[0]}
      high={bounds[1] > bounds[0] ? bounds[1] : bounds[0] + 1}
      scale={scale}
      disabled={!can("set")}
      changed={value !== setting.value}
      onInput={(to) => void ask({ type: "set", patch: { [name]: to }, branch: active.value })}
    />
  );
}

function Fixed({ settings }: { settings: Setting[] }) {
  const wish = pending.value;
  const opened = recipe.value.config;
  const change = (name: string, value: unknown) => (pending.value = { ...pending.value, [name]: value });
  return (
    <fieldset class="fixed">
      <legend class="small soft">Fixed for a run: a change starts a new one</legend>
      {settings.map((s) => {
        const value = wish[s.name] ?? opened[s.name] ?? s.value;
        const name = plainName(s.name);
        if (s.kind === "bool") {
          return (
            <label class="check" key={s.name} title={s.doc}>
              <input type="checkbox" checked={Boolean(value)} onChange={(e) => change(s.name, e.currentTarget.checked)} />
              {name}
            </label>
          );
        }
        if (s.kind === "choice") {
          return s.choices.length <= 3 ? (
            <div class="field" key={s.name} title={s.doc}>
              <span>{name}</span>
              <Segments label={name} options={s.choices.map((c) => ({ value: c, text: c }))} value={String(value)} onChange={(c) => change(s.name, c)} />
            </div>
          ) : (
            <label class="field" key={s.name} title={s.doc}>
              <span>{name}</span>
              <select value={String(value)} onChange={(e) => change(s.name, e.currentTarget.value)}>
                {s.choices.map((c) => (
                  <option key={c}>{c}</option>
                ))}
              </select>
            </label>
          );
        }
        return (
          <label class="field" key={s.name} title={s.doc}>
            <span>{name}</span>
            <input
              type="text"
              value={value === null || value === undefined ? "" : String(value)}
              onChange={(e) => {
                const text = e.currentTarget.value;
                const number = parse(text);
                change(s.name, s.kind === "text" ? text : s.kind === "int" ? Math.round(number) : number);
              }}
            />
          </label>
        );
      })}
      {Object.keys(wish).length > 0 && (
        <Button
          onClick={() => {
            const config = { ...recipe.value.config, ...wish };
            void start({ config }).then((worked) => {
              if (worked) pending.value = {};
            });
          }}
        >
          Start again with these
        </Button>
      )}
    </fieldset>
  );
}
