// What the coach has said of a branch, folded into what holds now and what is settled.

import type { Event } from "../messages";
import { type Branch, lineage } from "./tree";

/** `fathom.hub.coach.Finding`, as its event tells it. */
export interface Finding {
  rule: string;
  text: string;
  metric: string;
  seen: number | null;
  healthy: string;
  advice: string;
  source: string;
  over: boolean;
}

export interface Told {
  u: number;
  finding: Finding;
}

/** The newest word on each rule, of a branch and of those it came from as far as they are its past; newest first. */
export function findingsOf(events: readonly Event[], branches: readonly Branch[], branch: number): Told[] {
  const newest = new Map<string, Told>();
  for (const part of lineage(branches, branch)) {
    for (const event of events) {
      if (event.kind !== "finding" || event.branch !== part.id || event.u > part.to) continue;
      const finding = event.data as unknown as Finding;
      newest.delete(finding.rule);
      newest.set(finding.rule, { u: event.u, finding });
    }
  }
  return [...newest.values()].reverse();
}
