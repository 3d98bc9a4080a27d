import assert from "node:assert/strict";
import { test } from "node:test";
import { lanes, lineage } from "../src/core/tree";

const branch = (id: number, parent: number | null, at: number, tip: number) => ({ id, parent, at, tip, label: "" });

test("branches that overlap in time lie on lanes of their own", () => {
  const placed = lanes([branch(0, null, 0, 100), branch(1, 0, 40, 90), branch(2, 0, 50, 60), branch(3, 0, 95, 99)]);
  assert.deepEqual(placed.map((b) => b.lane), [0, 1, 2, 1]);
});

test("a child never lies on its parent's lane", () => {
  const placed = lanes([branch(0, null, 0, 100), branch(1, 0, 40, 90), branch(2, 1, 90, 120)]);
  assert.ok(placed[2].lane > placed[1].lane);
});

test("a lineage is cut where each branch was left", () => {
  const all = [branch(0, null, 0, 100), branch(1, 0, 40, 90), branch(2, 1, 60, 120)];
  assert.deepEqual(lineage(all, 2), [
    { id: 0, from: 0, to: 40 },
    { id: 1, from: 40, to: 60 },
    { id: 2, from: 60, to: Infinity },
  ]);
});

test("a parent that is not known, or a circle, ends the search", () => {
  assert.deepEqual(lineage([branch(1, 7, 3, 5)], 1), [{ id: 1, from: 3, to: Infinity }]);
  assert.equal(lineage([branch(1, 2, 3, 5), branch(2, 1, 3, 5)], 1).length, 2);
});
