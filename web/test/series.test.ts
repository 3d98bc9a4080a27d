import assert from "node:assert/strict";
import { test } from "node:test";
import { binned, Curve, joined } from "../src/core/series";

test("means are sums by counts, NaN where nothing was counted", () => {
  const curve = new Curve(2);
  curve.push(10, [6, 0], [3, 0]);
  assert.deepEqual(curve.column(0), [2]);
  assert.ok(Number.isNaN(curve.column(1)[0]));
});

test("thinning keeps every sum and every count", () => {
  const curve = new Curve(1, 16);
  let sum = 0;
  for (let i = 1; i <= 1000; i++) {
    curve.push(i, [i], [1]);
    sum += i;
  }
  assert.ok(curve.length <= 16);
  assert.equal(curve.end, 1000);
  // Each point's mean is that of its own span, so weighted by spans they give the mean of all.
  const spans = curve.xs.map((x, i) => x - (i ? curve.xs[i - 1] : 0));
  const total = curve.column(0).reduce((n, mean, i) => n + mean * spans[i], 0);
  assert.ok(Math.abs(total - sum) < 1e-6);
});

test("a branch's past does not change: what comes again is left as it is", () => {
  const curve = new Curve(1);
  curve.push(5, [1], [1]);
  curve.push(10, [2], [1]);
  curve.push(5, [9], [1]);
  assert.deepEqual(curve.xs, [5, 10]);
  assert.deepEqual(curve.column(0), [1, 2]);
});

test("a fork's curve goes on where it left its parent", () => {
  const parent = new Curve(1);
  const child = new Curve(1);
  for (const x of [10, 20, 30]) parent.push(x, [x], [1]);
  for (const x of [25, 35]) child.push(x, [-x], [1]);
  const { x, y } = joined([{ curve: parent, to: 20 }, { curve: child, to: Infinity }], 0);
  assert.deepEqual(x, [10, 20, 25, 35]);
  assert.deepEqual(y, [10, 20, -25, -35]);
});

test("bins are means of what is known", () => {
  const { x, columns } = binned([1, 2, 3, 4], [[1, NaN, 3, 5]], 2);
  assert.deepEqual(x, [2, 4]);
  assert.deepEqual(columns[0], [1, 4]);
});
