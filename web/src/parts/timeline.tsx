// All that happened: branches as lanes, a pin for each intervention, a slider over all of training.

import { useEffect, useRef, useState } from "preact/hooks";
import { compact, count } from "../core/format";
import { seek, wanted } from "../core/seek";
import { active, ask, branches, can, events, focus, frames, run, slow } from "../core/session";
import { niceTicks } from "../core/stats";
import { type Branch, lanes, lineage } from "../core/tree";
import type { Event } from "../messages";
import { Button } from "./ui";

const LEFT = 14;
const RIGHT = 96;
const LANE = 30;

export const PINNED = ["set", "surgery", "fork", "milestone", "error"];

/** Pins that would lie on one another become one. */
export function gathered(pins: readonly { x: number; event: Event }[], apart: number): { x: number; events: Event[] }[] {
  const out: { x: number; events: Event[] }[] = [];
  for (const { x, event } of [...pins].sort((a, b) => a.x - b.x)) {
    const last = out[out.length - 1];
    if (last && x - last.x < apart) last.events.push(event);
    else out.push({ x, events: [event] });
  }
  return out;
}

const WORDS: Record<string, string> = { set: "Setting", surgery: "Edit", fork: "Fork", milestone: "Milestone", finding: "Coach", snapshot: "Snapshot", seek: "Seek", open: "Opened", error: "Error", gap: "Gap" };

export const nameOf = (branch: Branch) => branch.label || (branch.parent === null ? "main" : `fork ${branch.id}`);

export function Timeline() {
  const holder = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [listed, setListed] = useState(false);
  useEffect(() => {
    if (!holder.current) return;
    const measure = new ResizeObserver(([entry]) => setWidth(entry.contentRect.width));
    measure.observe(holder.current);
    return () => measure.disconnect();
  }, []);
  // Events by the slow clock as well: a slider that is dragged makes dozens of them a second.
  slow.value;
  const told = events.peek();
  const known = branches.value.map((b) => ({ ...b, tip: Math.max(b.tip, frames.get(b.id)?.tip ?? 0) }));
  const placed = lanes(known);
  const now = active.value;
  const mine = known.find((b) => b.id === now);
  const tip = mine?.tip ?? 0;
  const u = wanted.value?.branch === now ? wanted.value.u : (frames.get(now)?.u ?? mine?.u ?? 0);
  const end = Math.max(run.value?.steps_per_update === 1 ? 100 : 10, ...known.map((b) => b.tip));
  const inner = Math.max(10, width - LEFT - RIGHT);
  const x = (at: number) => LEFT + (at / end) * inner;
  const y = (lane: number) => 16 + lane * LANE;
  const height = 16 + (Math.max(0, ...placed.map((b) => b.lane)) + 1) * LANE + 10;
  const path = lineage(known, now);
  const laneOf = new Map(placed.map((b) => [b.id, b.lane]));
  const pins = gathered(
    told.filter((e) => PINNED.includes(e.kind)).map((event) => ({ x: x(event.u) + 1e4 * (laneOf.get(event.branch) ?? 0), event })),
    9,
  );
  const snapshots = told.filter((e) => e.kind === "snapshot");
  const perUpdate = run.value?.steps_per_update ?? 1;
  const unit = perUpdate === 1 ? "step" : "update";
  const movable = can("seek");
  const happened = told.filter((e) => e.kind !== "seek").reverse();
  return (
    <section class="card timeline" aria-labelledby="timeline">
      <div ref={holder} class="lanes">
        {width > 0 && (
          <svg height={height} role="group" aria-label="Branches and interventions">
            <g class="axis" aria-hidden="true">
              {niceTicks(0, end, Math.max(2, Math.round(inner / 110))).map((t) => (
                <g key={t}>
                  <line x1={x(t)} x2={x(t)} y1={6} y2={height - 16} />
                  <text x={x(t)} y={height - 2} text-anchor="middle">
                    {compact(t)}
                  </text>
                </g>
              ))}
            </g>
            {placed.map((b) => {
              const parent = laneOf.get(b.parent ?? -1);
              const part = path.find((p) => p.id === b.id);
              const start = x(b.at);
              const bend = parent === undefined ? "" : `M${start} ${y(parent)} C${start + 10} ${y(parent)} ${start - 2} ${y(b.lane)} ${start + 12} ${y(b.lane)} `;
              const line = `${bend || `M${start} ${y(b.lane)} `}L${Math.max(x(b.tip), start + (bend ? 12 : 0))} ${y(b.lane)}`;
              const reached = part ? Math.min(u, part.to) : -1;
              return (
                <g key={b.id}>
                  <path class={`track ${part ? "mine" : ""}`} d={line} />
                  {part && reached > b.at && (
                    <path class="track on" d={`M${start + (bend ? 12 : 0)} ${y(b.lane)} L${Math.max(x(reached), start + (bend ? 12 : 0))} ${y(b.lane)}`} />
                  )}
                  <text
                    class={`lane-name ${b.id === now ? "on" : ""}`}
                    x={x(b.tip) + 12}
                    y={y(b.lane) + 4}
                    onClick={() => void ask({ type: "focus", branches: [b.id] })}
                  >
                    {focus.value.length > 1 && focus.value.includes(b.id) ? `${"AB"[focus.value.indexOf(b.id)] ?? ""} · ` : ""}
                    {nameOf(b)}
                  </text>
                </g>
              );
            })}
            {snapshots.map((e) => {
              const lane = laneOf.get(e.branch);
              return lane === undefined ? null : <line key={e.seq} x1={x(e.u)} x2={x(e.u)} y1={y(lane) + 5} y2={y(lane) + 9} stroke="currentColor" opacity="0.45" aria-hidden="true" />;
            })}
            {mine && <circle class="head" cx={x(u)} cy={y(laneOf.get(path.find((p) => u <= p.to)?.id ?? now) ?? 0)} r={7} aria-hidden="true" />}
            {pins.map(({ x: at, events: here }) => {
              const first = here[0];
              const lane = laneOf.get(first.branch);
              if (lane === undefined) return null;
              const cx = at - 1e4 * lane;
              const cy = y(lane);
              const said = `${here.length > 1 ? `${here.length} changes from ` : ""}${unit} ${count(first.u)}: ${here[here.length - 1].text}`;
              const go = () => movable && void seek(first.branch, first.u);
              return (
                <g
                  key={first.seq}
                  class="pin"
                  role="button"
                  tabIndex={0}
                  aria-label={`${said}. Go there.`}
                  onClick={go}
                  onKeyDown={(e) => {
                    if (e.key !== "Enter" && e.key !== " ") return;
                    e.preventDefault();
                    go();
                  }}
                >
                  <title>{said}</title>
                  {first.kind === "fork" ? (
                    <path d={`M${cx} ${cy - 6} l6 6 l-6 6 l-6 -6 z`} />
                  ) : first.kind === "surgery" ? (
                    <rect x={cx - 4.5} y={cy - 4.5} width={9} height={9} rx={1.5} />
                  ) : (
                    <circle cx={cx} cy={cy} r={4.8} />
                  )}
                </g>
              );
            })}
          </svg>
        )}
      </div>
      <div class="scrub">
        <h2 id="timeline">Timeline</h2>
        <Range value={u} min={path[0]?.from ?? 0} max={tip} disabled={!movable} label={`Go to a past ${unit}`} onInput={(to) => void seek(now, to)} />
        <span class="reading">
          {unit} <b data-testid="u">{count(u)}</b> of {count(tip)}
        </span>
        <span class="reading print" title="A fingerprint of the learner's state: the same again whenever the state is the same">
          <span class="visually-hidden">fingerprint </span>
          <code data-testid="hash">{frames.get(now)?.hash ?? ""}</code>
        </span>
        <Button look="tiny plain" aria-expanded={listed} onClick={() => setListed(!listed)}>
          What happened ({happened.length})
        </Button>
      </div>
      {listed && (
        <ol class="log" tabIndex={0} aria-label="Events, newest first">
          {happened.length === 0 && <li class="soft">Nothing yet.</li>}
          {happened.map((e) => (
            <li key={e.seq}>
              <span class="num">{count(e.u)}</span>
              <span class="soft">{WORDS[e.kind] ?? e.kind}</span>
              <span>{e.text}</span>
              {movable ? (
                <Button look="tiny plain" onClick={() => void seek(e.branch, e.u)} aria-label={`Go to ${unit} ${count(e.u)}`}>
                  Go there
                </Button>
              ) : (
                <span />
              )}
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

function Range({ value, min, max, label, disabled, onInput }: { value: number; min: number; max: number; label: string; disabled: boolean; onInput: (u: number) => void }) {
  const ref = useRef<HTMLInputElement>(null);
  useEffect(() => ref.current?.style.setProperty("--part", `${max > min ? ((value - min) / (max - min)) * 100 : 0}%`));
  return (
    <input
      ref={ref}
      type="range"
      aria-label={label}
      min={min}
      max={max}
      step={1}
      value={value}
      disabled={disabled || max === min}
      data-testid="scrub"
      onInput={(e) => onInput(Number(e.currentTarget.value))}
    />
  );
}
