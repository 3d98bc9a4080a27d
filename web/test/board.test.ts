import assert from "node:assert/strict";
import { test } from "node:test";
import { type BoardFrame, differenceOf, greedy, layerValues, maxima, rangeOf } from "../src/draw/board";
import { boardOf, shapeOf, startValue } from "../src/draw/world";
import { numbers } from "../src/core/tensor";
import type { Frame, Tensor, World } from "../src/messages";

const tensor = (values: number[], s: number[], d: "f4" | "i4" = "f4"): Tensor => {
  const array = d === "f4" ? Float32Array.from(values) : Int32Array.from(values);
  // One byte ahead, as messages may have it.
  const b = new Uint8Array(array.byteLength + 1);
  b.set(new Uint8Array(array.buffer), 1);
  return { d, s, b: b.subarray(1) };
};

const frameOf = (q: number[]): BoardFrame => ({ q, actions: 2, agent: 0 });

test("arrays that lie askew are read all the same", () => {
  assert.deepEqual([...numbers(tensor([1.5, -2, 3], [3]))], [1.5, -2, 3]);
});

test("max Q and what is greedy, ties included", () => {
  const frame = frameOf([1, 2, 3, 3, NaN, NaN]);
  assert.deepEqual([...maxima(frame, 3)].slice(0, 2), [2, 3]);
  assert.ok(Number.isNaN(maxima(frame, 3)[2]));
  assert.deepEqual(greedy(frame, 0), [1]);
  assert.deepEqual(greedy(frame, 1), [0, 1]);
  assert.deepEqual(greedy(frame, 2), []);
});

test("a difference is the second minus the first", () => {
  const d = differenceOf(frameOf([1, 2]), frameOf([5, 0]), 1);
  assert.equal(d.value?.[0], 3);
});

test("shades reach as far as what is shown and what is known", () => {
  assert.deepEqual(rangeOf("value", [0.1, NaN, 0.4], [0, 1]), [0, 1]);
  assert.deepEqual(rangeOf("value", [-3, 2], [0, 1]), [-3, 2]);
  assert.deepEqual(rangeOf("difference", [-0.2, 0.1], [0, 1]), [-0.2, 0.2]);
  assert.equal(rangeOf("visits", [4, 9], null)[0], 0);
});

const world = (over: Partial<World> = {}): World => ({
  rows: 1,
  cols: 3,
  letters: ["S", "#", "G"],
  painted: true,
  legend: {},
  walls: [false, false, false],
  acts: [true, false, false],
  arrows: ["←", "→"],
  actions: ["left", "right"],
  states: 3,
  plain: true,
  start: [1, 0, 0],
  ...over,
});

const message = (arrays: Record<string, Tensor>): Frame => ({ type: "frame", branch: 0, u: 1, tip: 1, hash: "", playing: false, steps_per_s: 0, arrays, jpeg: null });

test("one seed of a frame, and the value of its start", () => {
  const frame = message({ q: tensor([1, 2, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0], [2, 3, 2]), agent: tensor([0, 2], [2], "i4") });
  assert.deepEqual(Array.from(boardOf(frame, world(), 1).q).slice(0, 2), [3, 4]);
  assert.equal(boardOf(frame, world(), 1).agent, 2);
  assert.equal(startValue(frame, world(), 0), 2);
  assert.equal(startValue(frame, world(), 1), 4);
});

test("where cells are not states, values are those of the states shown", () => {
  const taxi = world({ plain: false, states: 5, start: [0, 0, 0, 0, 1] });
  const q = [0, 0, 1, 1.5, 0, 0, 0, 0, 7, 8];
  const frame = message({ q: tensor(q, [1, 5, 2]), agent: tensor([4], [1], "i4"), shown: tensor([4, -1, 1], [1, 3], "i4") });
  const board = boardOf(frame, taxi, 0);
  assert.deepEqual([board.q[0], board.q[1], board.q[4], board.q[5]], [7, 8, 1, 1.5]);
  assert.ok(Number.isNaN(board.q[2]));
  assert.equal(board.agent, 0);
  assert.equal(startValue(frame, taxi, 0), 8);
});

test("state values where there are no action values", () => {
  const frame = message({ v: tensor([0.5, 0, 0], [1, 3]) });
  assert.equal(layerValues("value", boardOf(frame, world(), 0), 3)[0], 0.5);
  assert.equal(startValue(frame, world(), 0), 0.5);
});

test("letters become kinds, and what is neither is written into its cell", () => {
  const shape = shapeOf(world({ letters: ["R", "S", "H"] }));
  assert.deepEqual([...(shape.cells as number[])], [0, 0, 4]);
  assert.deepEqual(shape.letters, ["R", "", ""]);
});
