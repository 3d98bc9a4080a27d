// Branches of a run as lanes, like a commit graph.

export interface Branch {
  id: number;
  parent: number | null;
  at: number;
  tip: number;
  label: string;
}

export interface Lane extends Branch {
  lane: number;
}

/** Each branch with its lane: the root on 0, a fork on the first lane free from its beginning to its end. */
export function lanes(branches: readonly Branch[]): Lane[] {
  const ends: number[][][] = [];
  const placed: Lane[] = [];
  for (const branch of branches) {
    const from = branch.at;
    const to = Math.max(branch.tip, branch.at);
    const parent = placed.find((p) => p.id === branch.parent);
    let lane = parent ? parent.lane + 1 : 0;
    while ((ends[lane] ?? []).some(([a, b]) => from <= b && to >= a)) lane++;
    (ends[lane] ??= []).push([from, to]);
    placed.push({ ...branch, lane });
  }
  return placed;
}

/** The chain of branches from the root to `id`, with the update at which each is left for the next. */
export function lineage(branches: readonly Branch[], id: number): { id: number; from: number; to: number }[] {
  const chain = [];
  let to = Infinity;
  const seen = new Set<number>();
  for (let now: number | null = id; now !== null && !seen.has(now); ) {
    seen.add(now);
    const branch = branches.find((b) => b.id === now);
    if (!branch) break;
    chain.unshift({ id: now, from: branch.at, to });
    to = branch.at;
    now = branch.parent;
  }
  return chain;
}
