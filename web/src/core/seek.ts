// Scrubbing: one seek under way at a time, and of those asked for meanwhile only the last.

import { signal } from "@preact/signals";
import { ask } from "./session";

export const wanted = signal<{ branch: number; u: number } | null>(null);
let running = false;

export async function seek(branch: number, u: number): Promise<void> {
  wanted.value = { branch, u };
  if (running) return;
  running = true;
  try {
    for (let now = wanted.peek(); now; now = wanted.peek()) {
      await ask({ type: "seek", u: now.u, branch: now.branch });
      if (wanted.peek() === now) wanted.value = null;
    }
  } finally {
    running = false;
    wanted.value = null;
  }
}
