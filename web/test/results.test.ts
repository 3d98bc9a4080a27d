import assert from "node:assert/strict";
import { test } from "node:test";
import { type Comparison, embedded, NOTHING, standalone, toCsv } from "../src/core/results";
import { curves, escape, intervals, sparkline, stacked } from "../src/draw/figures";
import { sorted } from "../src/parts/comparison";

const data: Comparison = {
  ...NOTHING,
  rows: [
    {
      path: "a",
      name: 'one, "two"',
      algorithm: "ppo",
      env: "CartPole-v1",
      backend: "native",
      preset: null,
      seeds: 2,
      steps: 1000,
      mean: 0.1 + 0.2,
      iqm: null,
      iqm_ci95: [0.1, 0.5],
      finished: true,
      returns_per_seed: [0.1, 0.5],
      steps_per_second: null,
      wall_seconds: null,
      settings: {},
      curve: null,
    },
  ],
};

test("CSV keeps every digit and quotes what needs it", () => {
  const lines = toCsv(data).trimEnd().split("\r\n");
  assert.equal(lines.length, 2);
  assert.ok(lines[1].startsWith('run,"one, ""two""",ppo,CartPole-v1,2,1000,0.30000000000000004,,0.1,0.5,'));
  assert.equal(lines[0].split(",").length, 13);
});

test("data within a page cannot end its script", () => {
  const text = embedded({ name: "</script><!--" });
  assert.ok(!text.includes("<"));
  assert.deepEqual(JSON.parse(text), { name: "</script><!--" });
});

test("the page that stands alone names no address", () => {
  const page = standalone(data, "a{}", "run()");
  assert.ok(!/https?:|src=|href=|@import/.test(page));
  assert.ok(page.includes("default-src 'none'"));
});

test("figures are well formed, whatever names are", () => {
  const svg = intervals([{ label: '<b>&"', note: "", middle: 1, interval: [0, 2], points: [0.5] }], "x", "light");
  assert.ok(svg.includes(escape('<b>&"')) && !svg.includes("<b>"));
  assert.ok(!svg.includes("NaN"));
  for (const text of [svg, sparkline([1, null, 3], "s", "dark"), curves([{ label: "c", x: [0, 1], middle: [1, 2], low: [0, 1], high: [2, null] }], "x", "y", "light")]) {
    assert.equal((text.match(/<svg/g) ?? []).length, (text.match(/<\/svg>/g) ?? []).length);
    assert.ok(!text.includes("NaN") && !text.includes("style="));
  }
});

test("one value alone, and equal values, still have a range", () => {
  assert.ok(!intervals([{ label: "a", note: "", middle: 500, interval: [500, 500], points: [500, 500] }], "x", "dark").includes("NaN"));
  assert.ok(!sparkline([2, 2], "s", "light").includes("NaN"));
});

test("figures below one another do not overlap", () => {
  const svg = stacked(['<svg xmlns="x" width="100" height="50"></svg>', '<svg xmlns="x" width="80" height="20"></svg>']);
  assert.match(svg, /y="66"/);
  assert.match(svg, /viewBox="0 0 100 86"/);
});

test("rows without a number come last, whichever way", () => {
  const of = (x: number | null) => x;
  assert.deepEqual(sorted([null, 2, 1], of, false), [1, 2, null]);
  assert.deepEqual(sorted([null, 2, 1], of, true), [2, 1, null]);
});
