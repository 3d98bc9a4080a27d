import assert from "node:assert/strict";
import { test } from "node:test";
import { extent, niceTicks, quantileSorted, spread } from "../src/core/stats";

test("quartiles by linear interpolation", () => {
  const { low, middle, high, known } = spread([4, 1, 3, 2]);
  assert.deepEqual([low, middle, high, known], [1.75, 2.5, 3.25, 4]);
});

test("what is not known does not count", () => {
  assert.deepEqual(spread([NaN, 5, NaN]), { low: 5, middle: 5, high: 5, known: 1 });
  assert.ok(Number.isNaN(spread([NaN]).middle));
});

test("quantiles are sorted as numbers, not as texts", () => {
  assert.equal(spread([100, 20, 3]).middle, 20);
  assert.equal(quantileSorted([1, 2, 10], 1), 10);
});

test("extent leaves out NaN", () => {
  assert.deepEqual(extent([NaN, 2, -1]), [-1, 2]);
  assert.deepEqual(extent([NaN], [0, 7]), [0, 7]);
});

test("ticks are round and within", () => {
  assert.deepEqual(niceTicks(0, 1, 5).map((t) => Number(t.toFixed(6))), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(niceTicks(-30, 10, 4), [-30, -20, -10, 0, 10]);
  assert.deepEqual(niceTicks(3, 3), [3]);
  assert.deepEqual(niceTicks(0, 61_000, 3), [0, 20_000, 40_000, 60_000]);
});
