import assert from "node:assert/strict";
import { test } from "node:test";
import { takesKey } from "../src/core/keys";
import { mapOf } from "../src/core/recipe";
import { shade } from "../src/draw/palette";
import { aligned } from "../src/parts/curves";
import { gathered } from "../src/parts/timeline";
import { speedAt, stopOf } from "../src/parts/toolbar";
import { tabbed } from "../src/pages/deep";
import { titleOf } from "../src/parts/frame";
import type { Event } from "../src/messages";

test("a key belongs to the control that has the focus", () => {
  assert.ok(takesKey("INPUT", "text", "", "e"));
  assert.ok(takesKey("BUTTON", "button", "", " "));
  assert.ok(takesKey("DIV", "", "gridcell", "Enter"));
  assert.ok(!takesKey("BUTTON", "button", "", "e"));
  assert.ok(!takesKey("INPUT", "range", "", "e"));
  assert.ok(takesKey("INPUT", "range", "", "ArrowLeft"));
});

test("speeds and stops of the slider are one another's inverse; the last is no limit", () => {
  assert.equal(speedAt(100), null);
  assert.equal(stopOf(null), 100);
  for (let stop = 12; stop < 100; stop++) assert.ok(Math.abs(stopOf(speedAt(stop)) - stop) <= 1);
  assert.equal(speedAt(0), 1);
});

test("pins that would lie on one another become one", () => {
  const at = (x: number) => ({ x, event: { u: x } as Event });
  assert.deepEqual(gathered([at(30), at(1), at(4)], 5).map((p) => p.events.length), [2, 1]);
});

test("series of different times share an axis", () => {
  const { x, y } = aligned([[1, 3], [2, 3]], [[10, 30], [20, 31]]);
  assert.deepEqual(x, [1, 2, 3]);
  assert.deepEqual(y, [[10, NaN, 30], [NaN, 20, 31]]);
});

test("every series has exactly one tab", () => {
  const names = ["episode_return", "policy_loss", "entropy", "kl", "clip_fraction", "value", "steps"];
  const tabs = tabbed(names);
  assert.deepEqual(tabs.flatMap((t) => t.series).sort(), [...names].sort());
  assert.equal(tabs[0].name, "Return");
});

test("a world is its map again", () => {
  assert.equal(mapOf({ rows: 2, cols: 2, letters: ["S", ".", "#", "G"] }), "S.\n#G");
});

test("shades stay within their range", () => {
  assert.equal(shade("light", -3), shade("light", 0));
  assert.equal(shade("light", 9), shade("light", 1));
});

test("titles are written as people write them", () => {
  const of = (algo: string) => titleOf({ algo, env: "X-v0" });
  assert.equal(of("q_learning"), "Q-learning on X-v0");
  assert.equal(of("sarsa_lambda"), "SARSA(λ) on X-v0");
  assert.equal(of("double_q_learning"), "Double Q-learning on X-v0");
  assert.equal(of("ppo"), "PPO on X-v0");
  assert.equal(of("n_step_sarsa"), "N-step SARSA on X-v0");
});
