// Looks into the learner that cost the trainer a computation of their own: asked for while they are looked at.

import { useEffect, useState } from "preact/hooks";
import { count, fixed, short } from "../core/format";
import { active, frames, look, run } from "../core/session";
import { type Numbers, numbers } from "../core/tensor";
import { theme } from "../core/theme";
import { drawScatter, isFlat, type ScatterData } from "../draw/scatter";
import type { Tensor } from "../messages";
import { Canvas } from "./canvas";
import { Button } from "./ui";

const PAUSE = 1500; // ms between an answer and the next question

interface Seen {
  u: number;
  x: Numbers;
  y: Numbers;
  facts: Record<string, number>;
}

export interface ProbeKind {
  name: string;
  request: "ratios" | "returns";
  title: string;
  x: string;
  y: string;
  says: (seen: Seen) => string;
  help: string;
}

export const PROBES: readonly ProbeKind[] = [
  {
    name: "Ratios",
    request: "ratios",
    title: "Probability ratio and advantage",
    x: "advantage",
    y: "ratio π / π old",
    says: ({ u, x, y, facts }) => {
      let flat = 0;
      for (let i = 0; i < x.length; i++) if (isFlat(x[i], y[i], facts.clip)) flat++;
      return `Update ${count(u + 1)}, seed 0: ${fixed(100 * facts.outside, 0)} % of ${count(facts.steps)} steps lie outside of 1 ± ${short(facts.clip)}; ${count(flat)} of the ${count(x.length)} shown are in the shaded part.`;
    },
    help: "Each dot is a step of the update that comes next, made ahead on a copy. In the shaded part the gain is clipped: the step teaches no more.",
  },
  {
    name: "Q and return",
    request: "returns",
    title: "What Q promises and what comes of it",
    x: "Q(s, a)",
    y: "return",
    says: ({ u, facts }) =>
      `Update ${count(u)}, seed 0: Q is ${short(Math.abs(facts.bias))} too ${facts.bias < 0 ? "low" : "high"} on average, over ${count(facts.steps)} steps of ${count(facts.episodes)} episodes.`,
    help: "Each dot is a step of an episode beside the training, by the greedy policy: the discounted return that followed. Right of the line, Q promises too much.",
  },
];

export function Probe({ of }: { of: ProbeKind }) {
  const [seen, setSeen] = useState<Seen | null>(null);
  const [why, setWhy] = useState("");
  const [asTable, setAsTable] = useState(false);
  const branch = active.value;
  const now = run.value;
  useEffect(() => {
    let over = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let last = -1;
    let first = true;
    const ask = async () => {
      const u = frames.get(branch)?.u ?? 0;
      if (u !== last && !document.hidden) {
        const answer = await look({ type: of.request, branch }, first);
        if (over) return;
        first = false;
        if (typeof answer === "string") setWhy(answer);
        else {
          const told = answer.data as { u: number; x: Tensor; y: Tensor; facts: Record<string, number> };
          last = told.u;
          setWhy("");
          setSeen({ u: told.u, x: numbers(told.x), y: numbers(told.y), facts: told.facts });
        }
      }
      timer = setTimeout(() => void ask(), PAUSE);
    };
    void ask();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [of, branch, now]);
  theme.value;
  const data: ScatterData | null = seen && { x: seen.x, y: seen.y, xLabel: of.x, yLabel: of.y, clip: seen.facts.clip, same: of.request === "returns" };
  return (
    <section class="card chart" aria-label={of.title} data-testid={of.request}>
      <header>
        <h2>{of.title}</h2>
        <Button look="tiny plain" icon="table" aria-pressed={asTable} onClick={() => setAsTable(!asTable)} aria-label={`${of.title}: view as table`} title="View as table" />
      </header>
      {data && seen ? (
        <>
          {asTable ? <Points of={of} seen={seen} /> : <Canvas still class="scatter" label={`${of.title}. ${of.says(seen)}`} ratio={1.25} paint={(c, width, height, mode) => drawScatter(c, width, height, mode, data)} />}
          <p class="small">{of.says(seen)}</p>
        </>
      ) : (
        <p class="soft small" role="status">
          {why || "Looking: the first time its program is compiled…"}
        </p>
      )}
      {why && seen && <p class="soft small">{why}</p>}
      <p class="soft small">{of.help}</p>
    </section>
  );
}

/** Some 40 of the points, in order of x. */
function Points({ of, seen }: { of: ProbeKind; seen: Seen }) {
  const order = Array.from(seen.x, (_, i) => i).sort((a, b) => seen.x[a] - seen.x[b]);
  const step = Math.max(1, Math.ceil(order.length / 40));
  const rows = order.filter((_, i) => i % step === 0);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={`${of.title}, as a table`}>
      {step > 1 && (
        <p class="small soft">
          Every {step}th of {order.length} points.
        </p>
      )}
      <table>
        <thead>
          <tr>
            <th scope="col" class="num">
              {of.x}
            </th>
            <th scope="col" class="num">
              {of.y}
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((i) => (
            <tr key={i}>
              <td class="num">{short(seen.x[i])}</td>
              <td class="num">{short(seen.y[i])}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
