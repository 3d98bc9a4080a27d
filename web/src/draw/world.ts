// From messages to what a board is drawn of.

import { numbers, row } from "../core/tensor";
import type { Frame, World } from "../messages";
import { type BoardFrame, type BoardShape, CLIFF, FREE, GOAL, HOLE, WALL } from "./board";

const KINDS: Record<string, number> = { "#": WALL, G: GOAL, C: CLIFF, H: HOLE };
const shapes = new WeakMap<World, BoardShape>();

export function shapeOf(world: World): BoardShape {
  let shape = shapes.get(world);
  if (!shape) {
    shape = {
      rows: world.rows,
      cols: world.cols,
      cells: world.letters.map((letter) => KINDS[letter] ?? FREE),
      starts: world.letters.map((letter) => (letter === "S" ? 1 : 0)),
      arrows: world.arrows,
      acts: world.acts,
      fences: world.walls.some(Boolean) ? world.walls : null,
      letters: world.letters.map((letter) => (letter === "." || letter === "S" || letter in KINDS ? "" : letter)),
    };
    shapes.set(world, shape);
  }
  return shape;
}

/** The state that each cell stands for in a frame, −1 for none. */
export function statesOf(frame: Frame | null, world: World, seed: number): ArrayLike<number> {
  const cells = world.rows * world.cols;
  if (!world.plain && frame?.arrays.shown) return row(frame.arrays.shown, seed);
  return Int32Array.from({ length: cells }, (_, i) => (world.plain ? i : -1));
}

/** One seed of a frame, by cell. */
export function boardOf(frame: Frame, world: World, seed: number): BoardFrame {
  const cells = world.rows * world.cols;
  const actions = world.arrows.length;
  const { q, v, visits, td, trace, agent } = frame.arrays;
  const at = agent ? numbers(agent)[seed] : -1;
  const mine = (tensor: typeof q | undefined) => (tensor ? row(tensor, seed) : null);
  if (world.plain) {
    return {
      q: mine(q) ?? new Float32Array(cells * actions).fill(NaN),
      actions,
      value: q ? null : mine(v),
      visits: mine(visits),
      error: mine(td),
      trace: strongest(mine(trace), world.states),
      agent: at,
    };
  }
  const states = statesOf(frame, world, seed);
  const pick = (all: ArrayLike<number> | null, width: number) => {
    if (!all) return null;
    const out = new Float32Array(cells * width).fill(NaN);
    for (let i = 0; i < cells; i++) {
      if (states[i] < 0) continue;
      for (let a = 0; a < width; a++) out[i * width + a] = all[states[i] * width + a];
    }
    return out;
  };
  return {
    q: pick(mine(q), actions) ?? new Float32Array(cells * actions).fill(NaN),
    actions,
    value: q ? null : pick(mine(v), 1),
    visits: pick(mine(visits), 1),
    error: pick(mine(td), 1),
    trace: pick(strongest(mine(trace), world.states), 1),
    agent: Array.prototype.indexOf.call(states, at),
  };
}

/** The strongest trace of each state, where there is one for each action. */
function strongest(all: ArrayLike<number> | null, states: number): ArrayLike<number> | null {
  if (!all || all.length === states) return all;
  const width = all.length / states;
  const out = new Float32Array(states);
  for (let i = 0; i < states; i++) for (let a = 0; a < width; a++) out[i] = Math.max(out[i], all[i * width + a]);
  return out;
}

/** V(start) of one seed: the mean over first states of what is greedy there. */
export function startValue(frame: Frame, world: World, seed: number): number {
  const { q, v } = frame.arrays;
  const mine = q ? row(q, seed) : v ? row(v, seed) : null;
  if (!mine) return NaN;
  const width = q ? world.arrows.length : 1;
  let sum = 0;
  world.start.forEach((p, s) => {
    if (p <= 0) return;
    let best = -Infinity;
    for (let a = 0; a < width; a++) if (mine[s * width + a] > best) best = mine[s * width + a];
    sum += p * best;
  });
  return sum;
}
