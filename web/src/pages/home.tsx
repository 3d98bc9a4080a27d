// The first page: a grid that learns already, and three doors.

import { useEffect } from "preact/hooks";
import { fixed } from "../core/format";
import { labKeys } from "../parts/toolbar";
import { shortcuts } from "../core/keys";
import { unlessOneComes } from "../core/recipe";
import { busy, can, frames, linkState, playing, run, slow, toggle } from "../core/session";
import { spread } from "../core/stats";
import { numbers } from "../core/tensor";
import { boardOf, shapeOf, startValue } from "../draw/world";
import { Board } from "../parts/board";
import { Button, Notices } from "../parts/ui";
import { startSlowly, subscribe } from "./tabular";

const DOORS = [
  {
    to: "#/tabular",
    name: "Learn",
    says: "Tables you can see: values flood back from the goal while you turn the settings.",
    icon: (
      <>
        <rect x="6" y="6" width="14" height="14" rx="3" opacity="0.35" />
        <rect x="24" y="6" width="14" height="14" rx="3" opacity="0.6" />
        <rect x="6" y="24" width="14" height="14" rx="3" opacity="0.6" />
        <rect x="24" y="24" width="14" height="14" rx="3" />
      </>
    ),
  },
  {
    to: "#/deep",
    name: "Play",
    says: "Neural networks at work: poke the pole, take the wheel, fork the training.",
    icon: (
      <>
        <rect x="12" y="28" width="20" height="8" rx="3" />
        <rect x="20" y="6" width="4.5" height="24" rx="2.2" transform="rotate(14 22 28)" />
      </>
    ),
  },
  {
    to: "#/compare",
    name: "Compare",
    says: "Runs side by side: intervals over seeds, not a lucky curve.",
    icon: (
      <>
        <rect x="6" y="9" width="22" height="5" rx="2.5" opacity="0.4" />
        <rect x="6" y="20" width="32" height="5" rx="2.5" />
        <rect x="6" y="31" width="15" height="5" rx="2.5" opacity="0.6" />
      </>
    ),
  },
];

export function Home() {
  const now = run.value;
  useEffect(() => {
    const stop = subscribe();
    shortcuts.value = [
      ...labKeys().slice(0, 1),
      { key: "1", what: "Learn: the tabular lab", run: () => (location.hash = "#/tabular") },
      { key: "2", what: "Play: the deep lab", run: () => (location.hash = "#/deep") },
      { key: "3", what: "Compare runs", run: () => (location.hash = "#/compare") },
    ];
    return () => {
      stop();
      shortcuts.value = [];
    };
  }, []);
  useEffect(() => {
    if (linkState.value !== "open" || now || busy.value) return;
    return unlessOneComes(() => void startSlowly());
  }, [linkState.value, now === null]);
  return (
    <>
      <Notices />
      <div class="home">
        <div>
          <h1>See an agent learn.</h1>
          <p class="lead">This is the trainer itself at work, not a film of it. Stop it, change it, rewind it, fork it: everything you see is computed by the run.</p>
          <nav class="doors" aria-label="Pages">
            {DOORS.map(({ to, name, says, icon }) => (
              <a class="door" href={to} key={to}>
                <svg viewBox="0 0 44 44" aria-hidden="true">
                  {icon}
                </svg>
                <span>
                  <strong>{name}</strong>
                  <span>{says}</span>
                </span>
                <span class="go" aria-hidden="true">
                  →
                </span>
              </a>
            ))}
          </nav>
        </div>
        <Alive />
      </div>
    </>
  );
}

function Alive() {
  slow.value;
  const now = run.value;
  if (!now?.world || now.kind !== "tabular") {
    return <figure class="alive">{now ? <figcaption>{now.title} is under way.</figcaption> : <figcaption role="status">{busy.value || "Connecting…"}</figcaption>}</figure>;
  }
  const world = now.world;
  const id = now.branches[0]?.id ?? 0;
  const frame = frames.get(id);
  const ready = frame && (frame.arrays.q || frame.arrays.v);
  const value = ready ? spread(Array.from({ length: now.seeds }, (_, s) => startValue(frame, world, s))).middle : NaN;
  const episodes = frame?.arrays.episode ? numbers(frame.arrays.episode)[0] : 0;
  const exact = now.exact?.start ?? null;
  return (
    <figure class="alive">
      <Board
        label="A grid that is being learnt"
        shape={shapeOf(world)}
        frame={() => {
          const f = frames.get(id);
          return f && (f.arrays.q || f.arrays.v) ? boardOf(f, world, 0) : null;
        }}
        layer="value"
        known={exact === null ? null : [0, 1]}
        names={world.actions}
        onCell={() => (location.hash = "#/tabular")}
        largest={480}
      />
      <figcaption>
        <span>
          Q-learning, episode {episodes}. The start is worth <b>{Number.isNaN(value) ? "–" : fixed(value, 2)}</b>
          {exact !== null && <> of {fixed(exact, 2)}</>}.
        </span>{" "}
        <Button look="tiny" icon={playing.value ? "pause" : "play"} onClick={toggle} disabled={!can("play")}>
          {playing.value ? "Pause" : "Play"}
        </Button>
      </figcaption>
    </figure>
  );
}
