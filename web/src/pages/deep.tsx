// The deep lab: a large view that can be poked and driven, past policies beside it, curves in tabs.

import { effect, signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { catalogue } from "../core/catalogue";
import { compact, count, fixed, parse, short } from "../core/format";
import { type Shortcut, shortcuts } from "../core/keys";
import { DEEP, type Recipe, recipe, sharing, start, unlessOneComes } from "../core/recipe";
import { active, ask, branches, busy, can, focus, frames, linkState, run, slow } from "../core/session";
import { numbers } from "../core/tensor";
import { drawStage, ratioOf, rowOf } from "../draw/stage";
import type { Frame, Stage } from "../messages";
import { Canvas } from "../parts/canvas";
import { Coach } from "../parts/coach";
import { CurveChart, seriesNames } from "../parts/curves";
import { AlgorithmChoice, Lab, Waiting } from "../parts/frame";
import { Probe, PROBES } from "../parts/probe";
import { Settings } from "../parts/settings";
import { nameOf } from "../parts/timeline";
import { labKeys } from "../parts/toolbar";
import { Button, Segments, Slider } from "../parts/ui";

const driving = signal(false);
const held = signal<number[] | null>(null);
const pushed = signal("");
const firmness = signal(1);
const exhibited = signal<number[]>([]);

function subscribe(): () => void {
  return effect(() => {
    if (linkState.value !== "open" || !run.value) return;
    void ask({ type: "sub", channels: run.value.channels.filter((c) => c === "view" || c === "series"), hz: 60 }, true);
  });
}

export function DeepLab() {
  const now = run.value;
  useEffect(() => {
    const stop = subscribe();
    shortcuts.value = [
      ...labKeys(),
      { key: "d", shown: "D", what: "Take the wheel, or give it back", run: () => wheel(!driving.value), when: () => can("drive") },
      { key: "ArrowLeft", shown: "←", what: "At the wheel: first action", run: () => steer(-1), when: () => driving.value },
      { key: "ArrowRight", shown: "→", what: "At the wheel: last action", run: () => steer(1), when: () => driving.value },
      { key: "ArrowDown", shown: "↓", what: "At the wheel: middle action", run: () => steer(0), when: () => driving.value },
      { key: "k", shown: "K", what: "Poke to the right", run: () => poke(1), when: () => can("drive") },
      { key: "j", shown: "J", what: "Poke to the left", run: () => poke(-1), when: () => can("drive") },
      { key: "r", shown: "R", what: "A new episode on stage", run: () => void ask({ type: "drive", reset: true }), when: () => can("drive") },
      { key: "x", shown: "X", what: "Put past policies on stage", run: () => void exhibit(), when: () => can("exhibit") },
      { key: "c", shown: "C", what: "Close the comparison", run: () => void ask({ type: "focus", branches: [active.value] }), when: () => focus.value.length > 1 },
    ] satisfies Shortcut[];
    return () => {
      stop();
      if (driving.value) wheel(false);
      shortcuts.value = [];
    };
  }, []);
  useEffect(() => {
    if (linkState.value !== "open" || now?.kind === "deep" || busy.value || sharing.value) return;
    if (!now) return unlessOneComes(() => void startQuickly({}));
    if (can("open")) void startQuickly({});
  }, [linkState.value, now === null, sharing.value]);
  useEffect(() => {
    exhibited.value = [];
    driving.value = false;
    held.value = null;
    choosePush(now?.stage?.pushes.find((name) => /theta.*dot|velocity/.test(name)) ?? now?.stage?.pushes[0] ?? "");
  }, [now]);
  if (!now || now.kind !== "deep") return <Waiting />;
  return (
    <Lab
      tools={<SurgeryMenu />}
      left={<Choices />}
      centre={
        <>
          <StageCard />
          <Checkpoints />
        </>
      }
      right={
        <>
          <Tabs />
          <Coach />
        </>
      }
    />
  );
}

/** A network's updates are many steps each: nobody waits for them at a walking pace. */
async function startQuickly(wish: Partial<Recipe>): Promise<void> {
  if (await start({ ...DEEP, ...wish }, undefined, Object.keys(wish).length === 0)) void ask({ type: "speed", steps_per_s: null });
}

/** Where the stage is trained from: the first branch in focus. */
const shownFrame = (): Frame | null => frames.get(active.value) ?? frames.get(focus.value[0]) ?? null;

function wheel(take: boolean): void {
  driving.value = take;
  held.value = take ? restOf(run.value?.stage ?? null) : null;
  void ask({ type: "drive", action: held.value });
}

function restOf(stage: Stage | null): number[] {
  if (!stage) return [0];
  if (stage.actions.length) return [Math.floor(stage.actions.length / 2)];
  return stage.action_low.map((low, i) => Math.min(stage.action_high[i], Math.max(low, 0)));
}

function act(action: number[]): void {
  held.value = action;
  void ask({ type: "drive", action }, true);
}

/** −1: the first action, 1: the last, 0: the middle one. */
function steer(to: number): void {
  const stage = run.value?.stage;
  if (!stage) return;
  const n = stage.actions.length;
  if (n) act([to < 0 ? 0 : to > 0 ? n - 1 : Math.floor((n - 1) / 2)]);
  else act(stage.action_low.map((low, i) => (to < 0 ? low : to > 0 ? stage.action_high[i] : restOf(stage)[i])));
}

/** A push that is felt and does not end all: an angular velocity is of another size than a car's. */
function choosePush(name: string): void {
  pushed.value = name;
  firmness.value = /dot/.test(name) ? 1 : /velocity/.test(name) ? 0.03 : 0.1;
}

function poke(amount: number): void {
  if (pushed.value) void ask({ type: "drive", push: { [pushed.value]: amount * firmness.value } });
}

function StageCard() {
  slow.value;
  const now = run.value!;
  const { stage } = now;
  const frame = shownFrame();
  const told = (name: string) => (frame?.arrays[name] ? numbers(frame.arrays[name])[0] : NaN);
  const compared = focus.value.length > 1;
  return (
    <section class="card" aria-labelledby="stage">
      <div class="centre-head">
        <dl class="facts">
          <div>
            <dt>update</dt>
            <dd>{count(frame?.u ?? 0)}</dd>
          </div>
          <div>
            <dt>steps of each seed</dt>
            <dd>{compact((frame?.u ?? 0) * now.steps_per_update)}</dd>
          </div>
          <div>
            <dt>on stage: return</dt>
            <dd data-testid="stage-return">{fixed(told("stage_return"), 0)}</dd>
          </div>
          <div>
            <dt>steps/s</dt>
            <dd>{frame?.playing && frame.steps_per_s > 0 ? compact(frame.steps_per_s) : "–"}</dd>
          </div>
        </dl>
        <h2 id="stage" class="visually-hidden">
          Stage
        </h2>
        <Button look="tiny" hint="R" disabled={!can("drive")} onClick={() => void ask({ type: "drive", reset: true })}>
          New episode
        </Button>
      </div>
      {compared && (
        <p class="row small soft">
          Comparing {focus.value.map((id, i) => `${"AB"[i]} ${nameOf(branches.value.find((b) => b.id === id) ?? { id, parent: 0, at: 0, tip: 0, label: "" })}`).join(" with ")}; the curves show both.
          <Button look="tiny" icon="close" hint="C" onClick={() => void ask({ type: "focus", branches: [active.value] })}>
            Close
          </Button>
        </p>
      )}
      {stage ? <View stage={stage} slot={0} main /> : <Picture />}
      <p class="visually-hidden">
        The present policy on {now.env}: step {count(told("stage_step"))} of the episode on stage, return {short(told("stage_return"))}.
      </p>
      {can("drive") && <Wheel stage={stage} />}
    </section>
  );
}

function View({ stage, slot, main }: { stage: Stage; slot: number; main?: boolean }) {
  const pokes = main && stage.pushes.length > 0 && can("drive");
  return (
    <div
      class={`scene ${pokes ? "grab" : ""}`}
      title={pokes ? "Click to the left or right of the middle: a push from there" : undefined}
      onPointerDown={(e) => {
        if (!pokes) return;
        const box = e.currentTarget.getBoundingClientRect();
        poke(e.clientX < box.left + box.width / 2 ? 1 : -1);
      }}
    >
      <Canvas
        label={main ? "The environment, acted in by the present policy" : `The environment, acted in by a past policy, ${slot}`}
        ratio={Math.max(1, ratioOf(stage))}
        paint={(c, width, height, theme) => drawStage(c, width, height, stage, rowOf(stage, shownFrame(), slot), theme)}
      />
    </div>
  );
}

/** Pictures as JPEG, the newest only. */
function Picture() {
  const latest = useRef<{ bytes: Uint8Array | null; image: ImageBitmap | null; busy: boolean }>({ bytes: null, image: null, busy: false });
  return (
    <div class="scene">
      <Canvas
        label="The environment, acted in by the present policy"
        ratio={1.5}
        paint={(c, width, height) => {
          const jpeg = shownFrame()?.jpeg ?? null;
          const mine = latest.current;
          if (jpeg && jpeg !== mine.bytes && !mine.busy) {
            mine.bytes = jpeg;
            mine.busy = true;
            void createImageBitmap(new Blob([jpeg as Uint8Array<ArrayBuffer>], { type: "image/jpeg" })).then(
              (image) => {
                mine.image?.close();
                mine.image = image;
                mine.busy = false;
                blit(c, width, height, image);
              },
              () => (mine.busy = false),
            );
          }
          if (mine.image) blit(c, width, height, mine.image);
        }}
      />
    </div>
  );
}

function blit(c: CanvasRenderingContext2D, width: number, height: number, image: ImageBitmap): void {
  const scale = Math.min(width / image.width, height / image.height);
  c.clearRect(0, 0, width, height);
  c.drawImage(image, (width - image.width * scale) / 2, (height - image.height * scale) / 2, image.width * scale, image.height * scale);
}

function Wheel({ stage }: { stage: Stage | null }) {
  const mine = driving.value;
  return (
    <div class="wheel">
      <div class="row">
        <Segments
          label="Who acts"
          value={mine ? "you" : "policy"}
          onChange={(who) => wheel(who === "you")}
          options={[
            { value: "policy", text: "The policy acts" },
            { value: "you", text: "You act", title: "Take the wheel: training is not touched" },
          ]}
        />
        {mine &&
          stage &&
          (stage.actions.length ? (
            <span class="row" role="group" aria-label="Actions">
              {stage.actions.map((name, a) => (
                <Button key={name} look="tiny" aria-pressed={held.value?.[0] === a} onClick={() => act([a])}>
                  {name}
                </Button>
              ))}
            </span>
          ) : (
            stage.action_low.map((low, i) => (
              <Slider
                key={i}
                name={stage.action_low.length > 1 ? `action ${i}` : "action"}
                value={held.value?.[i] ?? 0}
                low={low}
                high={stage.action_high[i]}
                onInput={(v) => act((held.value ?? restOf(stage)).map((old, j) => (j === i ? v : old)))}
              />
            ))
          ))}
      </div>
      {stage && stage.pushes.length > 0 && (
        <div class="row">
          <label class="row small soft">
            Poke
            <select value={pushed.value} onChange={(e) => choosePush(e.currentTarget.value)}>
              {stage.pushes.map((name) => (
                <option key={name} value={name}>
                  {name.replaceAll("_", " ")}
                </option>
              ))}
            </select>
          </label>
          <Button look="tiny" hint="J" onClick={() => poke(-1)} aria-label="Poke to the left">
            ←
          </Button>
          <Button look="tiny" hint="K" onClick={() => poke(1)} aria-label="Poke to the right">
            →
          </Button>
          <label class="row small soft">
            by
            <input
              type="text"
              inputMode="decimal"
              class="short"
              value={short(firmness.value)}
              onChange={(e) => {
                const number = parse(e.currentTarget.value);
                if (number > 0 && Number.isFinite(number)) firmness.value = number;
                e.currentTarget.value = short(firmness.value);
              }}
            />
          </label>
          <span class="small soft">or click on the picture</span>
        </div>
      )}
    </div>
  );
}

/** Policies of 0 %, 1 % and 10 % of what is known, beside the present one. */
async function exhibit(): Promise<void> {
  const tip = branches.value.find((b) => b.id === active.value)?.tip ?? 0;
  // A run that was taken up begins at its checkpoint: of what was before, nothing is kept.
  const first = branches.value.find((b) => b.parent === null)?.at ?? 0;
  const at = [...new Set([0, 0.01, 0.1].map((part) => first + Math.round((tip - first) * part)))];
  const reply = await ask({ type: "exhibit", at });
  const used = reply?.data.at;
  exhibited.value = Array.isArray(used) ? used.map(Number) : at;
}

function Checkpoints() {
  slow.value;
  const { stage } = run.value!;
  if (!stage || !can("exhibit")) return null;
  const frame = shownFrame();
  const returns = frame?.arrays.stage_return ? numbers(frame.arrays.stage_return) : null;
  const slots = [...exhibited.value.map((u, i) => ({ u, slot: i + 1 })), { u: frame?.u ?? 0, slot: 0 }];
  return (
    <section class="card" aria-labelledby="past">
      <header>
        <h2 id="past">Then and now</h2>
        <Button look="tiny" hint="X" onClick={() => void exhibit()}>
          {exhibited.value.length ? "Choose anew" : "Put past policies on stage"}
        </Button>
      </header>
      {exhibited.value.length ? (
        <div class="checkpoints">
          {slots.map(({ u, slot }) => (
            <figure key={slot}>
              <View stage={stage} slot={slot} />
              <figcaption>
                <span>{slot === 0 ? "now" : `update ${compact(u)}`}</span>
                <span>{returns && slot < returns.length ? `return ${fixed(returns[slot], 0)}` : ""}</span>
              </figcaption>
            </figure>
          ))}
        </div>
      ) : (
        <p class="soft small">The policies after 0 %, 1 % and 10 % of the training so far, acting beside the present one.</p>
      )}
    </section>
  );
}

const TABS: { name: string; of: (series: string) => boolean }[] = [
  { name: "Return", of: (s) => /^episode_/.test(s) },
  { name: "Losses", of: (s) => /loss|grad|error/.test(s) },
  { name: "Entropy", of: (s) => /entropy|temperature|epsilon|std|noise/.test(s) },
  { name: "KL and clip", of: (s) => /kl|clip|ratio/.test(s) },
  { name: "Values", of: (s) => /(^|_)q|value|explained|target/.test(s) },
];

/** Each series in the first tab that fits; what fits none is under "Other". */
export function tabbed(names: readonly string[]): { name: string; series: string[] }[] {
  const left = new Set(names);
  const out = TABS.map(({ name, of }) => {
    // What an episode earned comes before how long it took.
    const series = names.filter((s) => left.has(s) && of(s)).sort((a, b) => Number(b === "episode_return") - Number(a === "episode_return"));
    for (const s of series) left.delete(s);
    return { name, series };
  });
  return [...out, { name: "Other", series: [...left] }].filter((tab) => tab.name === "Return" || tab.series.length > 0);
}

function Tabs() {
  slow.value;
  const [chosen, setChosen] = useState("Return");
  const curves = tabbed(seriesNames());
  const tabs = [...curves.map((t) => t.name), ...PROBES.filter((p) => can(p.request)).map((p) => p.name)];
  const tab = tabs.includes(chosen) ? chosen : tabs[0];
  const shown = curves.find((t) => t.name === tab)?.series ?? [];
  const probe = PROBES.find((p) => p.name === tab);
  const move = (event: KeyboardEvent) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    const next = tabs[(tabs.indexOf(tab) + by + tabs.length) % tabs.length];
    setChosen(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <div>
      <div class="tabs" role="tablist" aria-label="Curves" onKeyDown={move}>
        {tabs.map((t) => (
          <button
            key={t}
            id={`tab-${t}`}
            type="button"
            role="tab"
            aria-selected={t === tab}
            aria-controls="curves"
            tabIndex={t === tab ? 0 : -1}
            onClick={() => setChosen(t)}
          >
            {t}
          </button>
        ))}
      </div>
      <div id="curves" role="tabpanel" aria-label={tab}>
        {probe ? (
          <Probe key={probe.request} of={probe} />
        ) : (
          (tab === "Return" && !shown.length ? ["episode_return"] : shown).map((series) => (
            <CurveChart key={series} title={wordsOf(series)} series={series} height={series === "episode_return" ? 190 : 130} empty="Nothing has come yet." />
          ))
        )}
      </div>
    </div>
  );
}

const wordsOf = (series: string) => {
  const text = series.replaceAll("_", " ").replace(/\bkl\b/, "KL");
  return text.charAt(0).toUpperCase() + text.slice(1);
};

function SurgeryMenu() {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const away = (e: Event) => {
      if (!box.current?.contains(e.target as Node)) setOpen(false);
    };
    const escape = (e: KeyboardEvent) => e.key === "Escape" && setOpen(false);
    addEventListener("pointerdown", away);
    addEventListener("focusin", away);
    addEventListener("keydown", escape);
    return () => {
      removeEventListener("pointerdown", away);
      removeEventListener("focusin", away);
      removeEventListener("keydown", escape);
    };
  }, [open]);
  const operate = (op: "reset_optimiser" | "clear_buffer") => {
    setOpen(false);
    void ask({ type: "surgery", op, branch: active.value });
  };
  return (
    <div class="menu" ref={box}>
      <Button aria-expanded={open} disabled={!can("surgery")} onClick={() => setOpen(!open)}>
        Surgery
      </Button>
      {open && (
        <ul>
          <li>
            <Button onClick={() => operate("reset_optimiser")}>Reset the optimiser</Button>
          </li>
          <li>
            <Button onClick={() => operate("clear_buffer")}>Clear the replay buffer</Button>
          </li>
        </ul>
      )}
    </div>
  );
}

function Choices() {
  const now = run.value!;
  const environments = catalogue.value.environments.filter((e) => e.kind === "deep");
  return (
    <>
      <section class="card" aria-labelledby="algorithm">
        <header>
          <h2 id="algorithm">Algorithm</h2>
        </header>
        <AlgorithmChoice family="deep" onChoose={(algo) => void startQuickly({ ...recipe.value, algo, config: {} })} />
        <div class="sliders">
          <Settings group="algorithm" first={(s) => s.symbol !== ""} />
        </div>
      </section>
      <section class="card" aria-labelledby="environment">
        <header>
          <h2 id="environment">Environment</h2>
        </header>
        <label class="field">
          <span class="visually-hidden">Environment</span>
          <select value={now.env} disabled={!can("open")} onChange={(e) => void startQuickly({ ...recipe.value, env: e.currentTarget.value, map: null, config: {} })} data-testid="env">
            {!environments.some((e) => e.id === now.env) && <option value={now.env}>{now.env}</option>}
            {["native", "gymnasium"].map((backend) => {
              const those = environments.filter((e) => e.backend === backend);
              return (
                those.length > 0 && (
                  <optgroup key={backend} label={backend === "native" ? "Native" : "Gymnasium"}>
                    {those.map((e) => (
                      <option key={e.id} value={e.id} title={e.description}>
                        {e.id}
                      </option>
                    ))}
                  </optgroup>
                )
              );
            })}
          </select>
        </label>
        <div class="sliders">
          <Settings group="environment" first={(s) => /gravity|force|mass|length|power|reward/.test(s.name)} />
        </div>
      </section>
    </>
  );
}
