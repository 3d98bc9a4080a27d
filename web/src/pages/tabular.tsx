// The tabular lab: a world, a table of values, and all that can be done to both while it learns.

import { computed, effect, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { compact, count, fixed, short } from "../core/format";
import { type Shortcut, shortcuts } from "../core/keys";
import { environmentNow, mapOf, sharing, start, TABULAR, unlessOneComes } from "../core/recipe";
import { active, ask, branches, busy, can, chosen, events, focus, frames, linkState, run, slow, truthAt } from "../core/session";
import { spread } from "../core/stats";
import { numbers } from "../core/tensor";
import { type BoardFrame, differenceOf, type Layer, rangeOf } from "../draw/board";
import { boardOf, shapeOf, startValue, statesOf } from "../draw/world";
import { drawScale } from "../draw/scale";
import type { Exact, World } from "../messages";
import { Board, BoardTable, inSight, LAYERS } from "../parts/board";
import { Canvas } from "../parts/canvas";
import { CurveChart, frameU } from "../parts/curves";
import { brush, Editor } from "../parts/editor";
import { AlgorithmChoice, Lab, Waiting } from "../parts/frame";
import { Inspector } from "../parts/inspector";
import { SeedGrids } from "../parts/seeds";
import { Settings } from "../parts/settings";
import { nameOf } from "../parts/timeline";
import { labKeys } from "../parts/toolbar";
import { Button, Segments } from "../parts/ui";

const layer = signal<Layer>("value");
const seed = signal(0);
const selected = signal(-1);
const asTable = signal(false);

const EXTRA: Record<string, string[]> = { visits: ["visits"], error: ["td"], trace: ["traces"] };
const BASE = ["values", "agent", "series"];

/** What is asked of the server: no more than is looked at. */
const channels = computed(() => {
  const offered = run.value?.channels ?? [];
  const wish = new Set([...BASE, ...(EXTRA[layer.value] ?? []), ...(asTable.value ? ["visits", "td", "traces"] : [])]);
  return offered.filter((c) => wish.has(c) || c === "series").sort();
});

export function subscribe(): () => void {
  let had: string[] = [];
  return effect(() => {
    const wish = channels.value;
    if (linkState.value !== "open" || !run.value) return;
    const gone = had.filter((c) => !wish.includes(c));
    if (gone.length) void ask({ type: "unsub", channels: gone }, true);
    if (wish.length) void ask({ type: "sub", channels: wish, hz: 60 }, true);
    had = wish;
  });
}

/** Where the agent of the shown seed was last, for a trail. */
const trail: { seed: number; branch: number; cells: number[] } = { seed: -1, branch: -1, cells: [] };

function trailOf(branch: number, cell: number, { cols, arrows }: ReturnType<typeof shapeOf>): readonly number[] {
  if (trail.seed !== seed.value || trail.branch !== branch) Object.assign(trail, { seed: seed.value, branch, cells: [] });
  const { cells } = trail;
  const last = cells[cells.length - 1] ?? cell;
  // What happened between two pictures is not known: a line over it would be invented.
  const [down, right] = [Math.abs(Math.floor(last / cols) - Math.floor(cell / cols)), Math.abs((last % cols) - (cell % cols))];
  const slanted = arrows.some((sign) => "↗↘↙↖".includes(sign));
  if ((slanted ? Math.max(down, right) : down + right) > 1) cells.length = 0;
  if (cells[cells.length - 1] !== cell) cells.push(cell);
  if (cells.length > 6) cells.shift();
  return cells;
}

export function TabularLab() {
  const now = run.value;
  useEffect(() => {
    const stop = subscribe();
    shortcuts.value = [
      ...labKeys(),
      { key: "l", shown: "L", what: "Next layer", run: nextLayer },
      { key: "v", shown: "V", what: "View as table", run: () => (asTable.value = !asTable.value) },
      { key: "n", shown: "N", what: "Next seed", run: () => (seed.value = (seed.value + 1) % (run.value?.seeds ?? 1)) },
      { key: "p", shown: "P", what: "Next brush", run: nextBrush, when: () => Boolean(run.value?.world?.painted) && can("surgery") },
      { key: "c", shown: "C", what: "Close the comparison", run: closeComparison, when: () => focus.value.length > 1 },
      { key: "Escape", shown: "Esc", what: "Close the inspector, put the brush down", run: () => ((selected.value = -1), (brush.value = "")) },
    ] satisfies Shortcut[];
    return () => {
      stop();
      shortcuts.value = [];
    };
  }, []);
  useEffect(() => {
    if (linkState.value !== "open" || now?.kind === "tabular" || busy.value || sharing.value) return;
    if (!now) return unlessOneComes(() => void startSlowly());
    if (can("open")) void startSlowly();
  }, [linkState.value, now === null, sharing.value]);
  if (!now || now.kind !== "tabular") return <Waiting />;
  if (seed.value >= now.seeds) seed.value = 0;
  return <Lab left={<Left />} centre={<Centre />} right={<Right />} />;
}

/** Slow enough to see the values flow, quick enough to see them arrive. */
export async function startSlowly(): Promise<void> {
  if (await start(TABULAR, undefined, true)) void ask({ type: "speed", steps_per_s: 400 });
}

function nextLayer(): void {
  const offered = layersOffered();
  layer.value = offered[(offered.findIndex((l) => l.value === layer.value) + 1) % offered.length].value;
}

function nextBrush(): void {
  const letters = ["", ...Object.keys(run.value?.world?.legend ?? {})];
  brush.value = letters[(letters.indexOf(brush.value) + 1) % letters.length];
}

function closeComparison(): void {
  void ask({ type: "focus", branches: [active.value] });
  chosen.value = null;
}

function layersOffered() {
  const offered = run.value?.channels ?? [];
  const frame = frames.get(active.value);
  const prediction = frame ? !frame.arrays.q : false;
  return LAYERS.filter(({ value }) => (value === "trace" ? offered.includes("traces") : value === "q" ? !prediction : true)).map((l) =>
    l.value === "value" && prediction ? { ...l, text: "V" } : l,
  );
}

function Left() {
  const branch = active.value;
  const { world } = truthAt(branch, frameU(branch));
  events.value;
  return (
    <>
      <section class="card" aria-labelledby="algorithm">
        <header>
          <h2 id="algorithm">Algorithm</h2>
        </header>
        <AlgorithmChoice
          family="tabular"
          onChoose={(algo) => {
            const painted = events.value.some((event) => event.kind === "surgery" && event.data.op === "paint");
            const same = painted && world ? { map: mapOf(world), env: "" } : {};
            void start({ algo, config: environmentNow(branch, frameU(branch)), seeds: run.value!.seeds, ...same });
          }}
        />
        <div class="sliders">
          <Settings group="algorithm" first={(s) => s.symbol !== ""} />
        </div>
      </section>
      <Editor world={world} />
    </>
  );
}

function knownRange(exact: Exact | null, world: World): readonly [number, number] | null {
  if (!exact) return null;
  const v = numbers(exact.v);
  let [low, high] = [Infinity, -Infinity];
  for (let s = 0; s < v.length; s++) {
    if (world.plain && !world.acts[s]) continue;
    low = Math.min(low, v[s]);
    high = Math.max(high, v[s]);
  }
  // From nothing: that is where tables begin.
  return low <= high ? [Math.min(0, low), Math.max(0, high)] : null;
}

const MARKS = ["A", "B"];

function Centre() {
  slow.value;
  events.value;
  const now = run.value!;
  const branch = active.value;
  const { world, exact } = truthAt(branch, frameU(branch));
  if (!world) return <p class="card soft">This environment has no table to show.</p>;
  const shape = shapeOf(world);
  const compared = focus.value.length > 1;
  const board = (id: number) => (): BoardFrame | null => {
    const frame = frames.get(id);
    return frame && (frame.arrays.q || frame.arrays.v) ? boardOf(frame, world, seed.value) : null;
  };
  const known = knownRange(exact, world);
  const press = (cell: number) => {
    if (brush.value) {
      void ask({ type: "surgery", op: "paint", branch, args: { row: Math.floor(cell / world.cols), col: cell % world.cols, letter: brush.value } });
    } else selected.value = cell;
  };
  const common = { shape, layer: layer.value, known, names: world.actions, painting: brush.value !== "", onCell: press };
  const [a, b] = focus.value;
  const difference = (): BoardFrame | null => {
    const [one, two] = [board(a)(), board(b)()];
    return one && two ? differenceOf(one, two, shape.rows * shape.cols) : null;
  };
  return (
    <>
      <section class="card" aria-label="Values">
        <div class="centre-head">
          <Facts />
          <span class="row">
            <Segments label="Layer" options={layersOffered()} value={layer.value} onChange={(l) => (layer.value = l)} />
            <Button look="tiny plain" icon="table" hint="V" title="View as table" aria-pressed={asTable.value} onClick={() => (asTable.value = !asTable.value)} />
          </span>
        </div>
        {compared && (
          <div class="row compared">
            <span class="small soft">Two branches side by side. Changes go to</span>
            <Segments
              label="Changes go to"
              value={String(branch)}
              options={[a, b].map((id, i) => ({ value: String(id), text: `${MARKS[i]} ${label(id)}` }))}
              onChange={(id) => (chosen.value = Number(id))}
            />
            <Button look="tiny" icon="close" hint="C" onClick={closeComparison}>
              Close
            </Button>
          </div>
        )}
        {asTable.value ? (
          <BoardTable shape={shape} frame={board(branch)()} names={world.actions} exact={exactByCell(exact, world, branch)} />
        ) : compared ? (
          <div class="ab">
            {[a, b].map((id, i) => (
              <div key={id}>
                <h3>
                  <b>
                    {MARKS[i]} {label(id)}
                  </b>
                  <span>step {count(frames.get(id)?.u ?? 0)}</span>
                </h3>
                <Board {...common} label={`${MARKS[i]}, ${label(id)}`} frame={board(id)} selected={id === branch ? selected.value : -1} />
              </div>
            ))}
            <div>
              <h3>
                <b>B − A</b>
                <span data-testid="largest-difference">{largest(difference())}</span>
              </h3>
              <Board {...common} onCell={undefined} painting={false} label="Difference of values, B minus A" layer="difference" frame={difference} />
            </div>
          </div>
        ) : (
          <Board
            {...common}
            label={`Values of seed ${seed.value}`}
            largest={560}
            frame={board(branch)}
            selected={selected.value}
            trail={() => {
              const f = board(branch)();
              return f ? trailOf(branch, f.agent, shape) : [];
            }}
          />
        )}
        {!asTable.value && <Scale range={() => rangeShown(board(branch)(), shape, known)} />}
        <Summary board={board(branch)()} world={world} exact={exact} branch={branch} />
      </section>
      {now.seeds > 1 && (
        <section class="card" aria-labelledby="seeds">
          <header>
            <h2 id="seeds">{now.seeds} seeds</h2>
            <span class="reading">V(start) of each</span>
          </header>
          <SeedGrids
            world={world}
            frame={() => frames.get(active.value) ?? null}
            seeds={now.seeds}
            chosen={seed.value}
            layer={layer.value}
            known={known}
            onChoose={(s) => (seed.value = s)}
          />
        </section>
      )}
    </>
  );
}

const label = (id: number) => {
  const branch = branches.value.find((b) => b.id === id);
  return branch ? nameOf(branch) : `branch ${id}`;
};

function exactByCell(exact: Exact | null, world: World, branch: number): ArrayLike<number> | null {
  if (!exact) return null;
  const v = numbers(exact.v);
  const states = statesOf(frames.get(branch) ?? null, world, seed.value);
  return Float64Array.from({ length: world.rows * world.cols }, (_, i) => (states[i] < 0 ? NaN : v[states[i]]));
}

function rangeShown(board: BoardFrame | null, shape: ReturnType<typeof shapeOf>, known: readonly [number, number] | null): readonly [number, number] {
  return rangeOf(layer.value, board ? inSight(shape, board, layer.value) : [], known);
}

function largest(difference: BoardFrame | null): string {
  if (!difference?.value) return "";
  let most = 0;
  for (let i = 0; i < difference.value.length; i++) if (Math.abs(difference.value[i]) > Math.abs(most)) most = difference.value[i];
  return `at most ${short(most)}`;
}

function Facts() {
  slow.value;
  const now = run.value!;
  const branch = active.value;
  const frame = frames.get(branch);
  const { world, exact } = truthAt(branch, frameU(branch));
  const values = frame && world && (frame.arrays.q || frame.arrays.v) ? Array.from({ length: now.seeds }, (_, s) => startValue(frame, world, s)) : [];
  const episodes = frame?.arrays.episode ? numbers(frame.arrays.episode)[seed.value] : NaN;
  return (
    <dl class="facts">
      <div>
        <dt>step</dt>
        <dd>{count((frame?.u ?? 0) * now.steps_per_update)}</dd>
      </div>
      <div>
        <dt>episode</dt>
        <dd data-testid="episode">{count(episodes)}</dd>
      </div>
      <div>
        <dt>V(start), median</dt>
        <dd>
          <span data-testid="v-start">{values.length ? fixed(spread(values).middle, 3) : "–"}</span>
          {exact && <small> of {fixed(exact.start, 3)}</small>}
        </dd>
      </div>
      <div>
        <dt>steps/s</dt>
        <dd>{frame?.playing && frame.steps_per_s > 0 ? compact(frame.steps_per_s) : "–"}</dd>
      </div>
    </dl>
  );
}

function Scale({ range }: { range: () => readonly [number, number] }) {
  slow.value;
  const [low, high] = range();
  return (
    <div class="scale" aria-hidden="true">
      <span>{short(low)}</span>
      <Canvas still paint={(c, width, height, theme) => drawScale(c, width, height, theme)} />
      <span>{short(high)}</span>
    </div>
  );
}

function Summary({ board, world, exact, branch }: { board: BoardFrame | null; world: World; exact: Exact | null; branch: number }) {
  const frame = frames.get(branch);
  if (!board || !frame) return null;
  const value = startValue(frame, world, seed.value);
  const cells = world.acts.filter(Boolean).length;
  const met = Array.from(board.value ?? board.q).filter((v) => v !== 0 && Number.isFinite(v)).length;
  const at = board.agent < 0 ? "" : ` The agent is in row ${Math.floor(board.agent / world.cols) + 1}, column ${(board.agent % world.cols) + 1}.`;
  return (
    <p class="visually-hidden" data-testid="summary">
      Seed {seed.value} after {count(frame.u)} steps: the value of the start is {fixed(value, 3)}
      {exact ? `, exactly it would be ${fixed(exact.start, 3)}` : ""}. {met} numbers in {cells} cells differ from zero.{at}
    </p>
  );
}

function Right() {
  const now = run.value!;
  const branch = active.value;
  const { world, exact } = truthAt(branch, frameU(branch));
  const frame = frames.get(branch) ?? null;
  slow.value;
  const state = world && selected.value >= 0 && selected.value < world.rows * world.cols ? statesOf(frame, world, seed.value)[selected.value] : -1;
  return (
    <>
      {world && state >= 0 && (
        <Inspector world={world} algo={now.algo} state={state} cell={selected.value} seed={seed.value} seeds={now.seeds} onClose={() => (selected.value = -1)} />
      )}
      <CurveChart title="Value of the start" series="v_start" height={140} goal={exact ? { value: exact.start, text: "exact" } : null} places={(v) => fixed(v, 3)} />
      <CurveChart title="Return of an episode" series="episode_return" height={140} empty="No episode has ended yet." />
      <CurveChart title="Length of an episode" series="episode_length" height={120} empty="No episode has ended yet." />
    </>
  );
}


