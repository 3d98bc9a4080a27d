// What both labs have in common: the title, the bar, the places of the parts, and what is there before a run.

import type { ComponentChildren } from "preact";
import { catalogue } from "../core/catalogue";
import { busy, linkState, run } from "../core/session";
import type { Run } from "../messages";
import { Timeline } from "./timeline";
import { Toolbar } from "./toolbar";
import { Notices, Said } from "./ui";

interface Props {
  /** Beside what every lab's bar has. */
  tools?: ComponentChildren;
  left: ComponentChildren;
  centre: ComponentChildren;
  right: ComponentChildren;
}

export function Lab({ tools, left, centre, right }: Props) {
  const now = run.value!;
  return (
    <>
      <div class="page-title">
        <h1>{titleOf(now)}</h1>
        <p class="soft small">{catalogue.value.algorithms.find((a) => a.name === now.algo)?.summary}</p>
      </div>
      <Toolbar>{tools}</Toolbar>
      <Notices />
      <div class="lab">
        <div class="centre">{centre}</div>
        <div class="time">
          <Timeline />
        </div>
        <div class="right">{right}</div>
        <div class="left">{left}</div>
        <div class="said">
          <Said />
        </div>
      </div>
    </>
  );
}

export function Waiting() {
  return (
    <>
      <h1 class="visually-hidden">Fathom</h1>
      <Notices />
      <p class="waiting soft" role="status">
        {linkState.value === "open" ? busy.value || "Preparing the run…" : "Connecting…"}
      </p>
    </>
  );
}

/** Names as people write them: acronyms in capitals, λ for lambda. */
export function titleOf(now: Pick<Run, "algo" | "env">): string {
  const name = now.algo
    .replaceAll("_", " ")
    .replace(/\b(ppo|dqn|a2c|a3c|trpo|sac|td3|ddpg|tqc|td|sarsa|pqn|reinforce)\b/g, (word) => word.toUpperCase())
    .replace(/ lambda\b/, "(λ)")
    .replace(/\b(n) step\b/, "$1-step")
    .replace(/\b(q|Q) learning\b/, "Q-learning")
    .replace(/^dyna q( plus)?$/, (_, plus: string) => (plus ? "Dyna-Q+" : "Dyna-Q"));
  return `${name.charAt(0).toUpperCase()}${name.slice(1)} on ${now.env || "a world of your own"}`;
}

/** The choice of an algorithm of one family. */
export function AlgorithmChoice({ family, onChoose }: { family: "tabular" | "deep"; onChoose: (name: string) => void }) {
  const { algo } = run.value!;
  const offered = catalogue.value.algorithms.filter((a) => a.family === family);
  return (
    <label class="field">
      <span class="visually-hidden">Algorithm</span>
      <select value={algo} disabled={!run.value!.can.includes("open")} data-testid="algo" onChange={(e) => onChoose(e.currentTarget.value)}>
        {!offered.some((a) => a.name === algo) && <option value={algo}>{algo}</option>}
        {offered.map((a) => (
          <option key={a.name} value={a.name} title={a.summary}>
            {a.name.replaceAll("_", " ")}
          </option>
        ))}
      </select>
    </label>
  );
}
