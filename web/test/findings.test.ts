import assert from "node:assert/strict";
import { test } from "node:test";
import { findingsOf } from "../src/core/findings";
import { isFlat } from "../src/draw/scatter";
import { PROBES } from "../src/parts/probe";
import type { Event } from "../src/messages";

let seq = 0;
const said = (branch: number, u: number, rule: string, over = false): Event => ({
  type: "event",
  seq: ++seq,
  kind: "finding",
  branch,
  u,
  text: rule,
  data: { rule, text: rule, metric: rule, seen: 1, healthy: "", advice: "", source: "", over },
  code: null,
});

const branches = [
  { id: 0, parent: null, at: 0, tip: 100, label: "" },
  { id: 1, parent: 0, at: 50, tip: 80, label: "" },
];

test("of each rule the newest word counts, newest first", () => {
  const events = [said(0, 10, "kl"), said(0, 20, "entropy"), said(0, 30, "kl", true)];
  const found = findingsOf(events, branches, 0);
  assert.deepEqual(found.map((f) => [f.finding.rule, f.u, f.finding.over]), [["kl", 30, true], ["entropy", 20, false]]);
});

test("a fork has the findings of its past, and none of what its parent did afterwards", () => {
  const events = [said(0, 40, "kl"), said(0, 60, "entropy"), said(1, 70, "grad_norm")];
  assert.deepEqual(findingsOf(events, branches, 1).map((f) => f.finding.rule), ["grad_norm", "kl"]);
  assert.deepEqual(findingsOf(events, branches, 0).map((f) => f.finding.rule), ["entropy", "kl"]);
});

test("the gain is clipped where the advantage pushes further out, and only there", () => {
  assert.ok(isFlat(1, 1.3, 0.2));
  assert.ok(!isFlat(-1, 1.3, 0.2));
  assert.ok(isFlat(-1, 0.7, 0.2));
  assert.ok(!isFlat(1, 0.7, 0.2));
  assert.ok(!isFlat(1, 1.1, 0.2));
});

test("a scatter is said in words", () => {
  const [ratios, returns] = PROBES;
  const points = { u: 3, x: Float32Array.from([1, -1, 2]), y: Float32Array.from([1.5, 0.5, 1]) };
  const told = ratios.says({ ...points, facts: { clip: 0.2, outside: 0.25, steps: 2048 } });
  assert.match(told, /^Update 4, seed 0: 25 % of 2\u202f048 steps lie outside of 1 ± 0\.2; 2 of the 3 shown/);
  assert.match(returns.says({ ...points, facts: { bias: -1.25, gamma: 0.9, steps: 40, episodes: 8 } }), /Q is 1\.25 too low on average, over 40 steps of 8 episodes/);
});
