// What a run was opened with, so that it can be opened again with one thing changed.

import { signal } from "@preact/signals";
import type { World } from "../messages";
import { open, play, run, settingsAt } from "./session";
import { reducedMotion } from "./theme";

export interface Recipe {
  algo: string;
  env: string;
  map: string | null;
  config: Record<string, unknown>;
  seeds: number;
  seed: number;
}

export const TABULAR: Recipe = { algo: "q_learning", env: "Grid5x5-v0", map: null, config: {}, seeds: 10, seed: 0 };
export const DEEP: Recipe = { algo: "ppo", env: "CartPole-v1", map: null, config: {}, seeds: 4, seed: 0 };

/** Whether a shared run is being opened: then no other is begun by itself. */
export const sharing = signal(false);

export const recipe = signal<Recipe>(TABULAR);

/** A world in the letters of its map. */
export function mapOf(world: Pick<World, "rows" | "cols" | "letters">): string {
  return Array.from({ length: world.rows }, (_, r) => world.letters.slice(r * world.cols, (r + 1) * world.cols).join("")).join("\n");
}

/** The settings of the environment as they are now, so that another algorithm meets the same world. */
export function environmentNow(branch: number, u: number): Record<string, unknown> {
  const opened = Object.fromEntries((run.value?.settings ?? []).map((s) => [s.name, s.value]));
  return Object.fromEntries(Object.entries(settingsAt(branch, u)).filter(([name, value]) => name.startsWith("env.") && value !== opened[name]));
}

/** Open a run, and let it go on at once unless the user wants no motion. */
export async function start(wish: Partial<Recipe>, moving = !reducedMotion(), byItself = false): Promise<boolean> {
  const next = { ...recipe.value, ...wish };
  const { algo, env, map, config, seeds, seed } = next;
  const worked = await open({ algo, env: map === null ? env : "", map, config, seeds, seed }, byItself);
  if (worked) {
    recipe.value = next;
    if (moving) play();
  }
  return worked;
}

/** Call `begin` if no run has come by itself soon after the connection stands; what stops waiting. */
export function unlessOneComes(begin: () => void): () => void {
  const timer = setTimeout(() => {
    if (!run.peek()) begin();
  }, 250);
  return () => clearTimeout(timer);
}
