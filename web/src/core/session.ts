// What the page knows of the run: the stream of messages folded into signals.

import { batch, computed, signal } from "@preact/signals";
import type { Branch, Code, Event, Exact, Frame, Inspection, Reply, Run, Series, World } from "../messages";
import { type Asked, Link, type LinkState, Lost } from "./link";
import { Curve } from "./series";
import { numbers } from "./tensor";
import { lineage } from "./tree";

export interface Notice {
  text: string;
  bad: boolean;
  /** A share link to the last snapshot, where a trainer died. */
  share?: string;
}

export const linkState = signal<LinkState>("waiting");

export const run = signal<Run | null>(null);
export const branches = signal<Branch[]>([]);
export const focus = signal<number[]>([]);
export const playing = signal(false);
export const speed = signal<number | null>(null);
export const events = signal<Event[]>([]);
export const code = signal<{ what: string; code: Code } | null>(null);
export const notice = signal<Notice | null>(null);
export const busy = signal("");
/** The branch that changes go to: the last of those in focus. */
export const chosen = signal<number | null>(null);
export const active = computed(() => {
  const shown = focus.value;
  return chosen.value !== null && shown.includes(chosen.value) ? chosen.value : (shown[shown.length - 1] ?? 0);
});
/** Counts the pictures that came; for what is drawn on canvases. */
export const painted = signal(0);
/** Four times a second while something changes; for text. */
export const slow = signal(0);

/** The newest frame of each branch. Not a signal: up to 60 a second come. */
export const frames = new Map<number, Frame>();
export const curves = new Map<number, Map<string, Curve>>();
const exacts = new Map<number, { u: number; exact: Exact; world: World | null }[]>();
/** Measurements for the benchmark and the tests: when frames came and how long painting took. */
export const meter = { frames: 0, paintMs: [] as number[], applied: 0 };

export const can = (request: string) => run.value?.can.includes(request) ?? false;
export const frame = () => frames.get(active.value) ?? null;

let link: Link | null = null;
/** Whether the notice is of a run that the page opened by itself. */
let unasked = false;
let pictureDue = false;
let slowDue = false;

function picture(): void {
  if (pictureDue) return;
  pictureDue = true;
  requestAnimationFrame(() => {
    pictureDue = false;
    const began = performance.now();
    painted.value++;
    meter.paintMs.push(performance.now() - began);
    if (meter.paintMs.length > 2000) meter.paintMs.splice(0, 1000);
  });
}

function slowly(): void {
  if (slowDue) return;
  slowDue = true;
  setTimeout(() => {
    slowDue = false;
    slow.value++;
  }, 220);
}

function forget(): void {
  frames.clear();
  curves.clear();
  exacts.clear();
  batch(() => {
    run.value = null;
    branches.value = [];
    focus.value = [];
    events.value = [];
    chosen.value = null;
    playing.value = false;
  });
}

function takeRun(message: Run): void {
  forget();
  batch(() => {
    run.value = message;
    branches.value = message.branches;
    focus.value = message.focus;
    playing.value = message.playing;
    speed.value = message.speed;
    code.value = { what: "Open", code: message.code };
    busy.value = "";
    if (unasked) notice.value = null;
  });
  if (message.exact) exacts.set(message.branches[0]?.id ?? 0, [{ u: 0, exact: message.exact, world: null }]);
  slowly();
}

function takeSeries(message: Series): void {
  const mine = curves.get(message.branch) ?? new Map<string, Curve>();
  curves.set(message.branch, mine);
  const seeds = run.value?.seeds ?? 1;
  for (const [name, sums] of Object.entries(message.sums)) {
    const counts = message.counts[name];
    if (!counts) continue;
    let curve = mine.get(name);
    if (!curve) mine.set(name, (curve = new Curve(seeds)));
    curve.push(message.u0 + message.du, numbers(sums), numbers(counts));
  }
  const known = branches.value.find((b) => b.id === message.branch);
  if (known && message.u0 + message.du > known.tip) grow(message.branch, message.u0 + message.du);
  slowly();
}

/** A branch that got longer. Told slowly: frames come often. */
function grow(id: number, u: number): void {
  branches.value = branches.value.map((b) => (b.id === id ? { ...b, u: Math.max(b.u, u), tip: Math.max(b.tip, u) } : b));
}

interface StateData {
  playing?: boolean;
  speed?: number | null;
  focus?: number[];
  branches?: Branch[];
}

function takeEvent(message: Event): void {
  batch(() => {
    if (message.kind === "state") {
      const data = message.data as StateData;
      if (data.branches) branches.value = data.branches;
      if (data.focus) focus.value = data.focus;
      if (data.playing !== undefined) playing.value = data.playing;
      if (data.speed !== undefined) speed.value = data.speed;
      return;
    }
    if (message.kind === "exact") {
      const data = message.data as { exact?: Exact; world?: World | null };
      if (data.exact || data.world) {
        const told = exacts.get(message.branch) ?? [];
        const before = told[told.length - 1]?.exact ?? run.value?.exact;
        const exact = data.exact ?? before;
        if (exact) exacts.set(message.branch, [...told, { u: message.u, exact, world: data.world ?? null }]);
      }
      painted.value++;
      slow.value++;
      return;
    }
    if (message.kind === "fork") {
      const made = message.data as unknown as Branch;
      if (typeof made.id === "number" && !branches.value.some((b) => b.id === made.id)) branches.value = [...branches.value, made];
    }
    if (message.kind === "error") {
      const { share } = message.data as { share?: unknown };
      notice.value = { text: message.text, bad: true, share: typeof share === "string" ? share : undefined };
      playing.value = false;
    }
    events.value = [...events.value, message];
    slowly();
    if (message.code) code.value = { what: message.text || message.kind, code: message.code };
  });
}

function takeFrame(message: Frame): void {
  frames.set(message.branch, message);
  meter.frames++;
  meter.applied = performance.now();
  if (message.playing !== playing.value && focus.value.includes(message.branch)) playing.value = message.playing;
  picture();
  slowly();
}

/** Connect to the server that served the page. Called once. */
export function begin(opened: (resumed: boolean) => void): void {
  const token = new URLSearchParams(location.search).get("token") ?? "";
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws?token=${encodeURIComponent(token)}`;
  link = new Link(url, token, {
    state: (state) => (linkState.value = state),
    forget,
    ready: opened,
    message: (message) => {
      switch (message.type) {
        case "run":
          return takeRun(message);
        case "series":
          return takeSeries(message);
        case "event":
          return takeEvent(message);
        case "frame":
          return takeFrame(message);
      }
    },
  });
  link.connect();
}

/** Send a request; the reply, or null where it was refused: the reason is shown on the page. */
export async function ask(request: Asked, quiet = false): Promise<Reply | null> {
  const answer = await answerTo(request, quiet);
  return answer?.type === "reply" ? answer : null;
}

export async function inspect(request: Extract<Asked, { type: "inspect" }>): Promise<Inspection | null> {
  const answer = await answerTo(request, false);
  return answer?.type === "inspection" ? answer : null;
}

/** Ask for something to look at: what was told, or why it was not. */
export async function look(request: Asked, first: boolean): Promise<Reply | string> {
  try {
    const answer = await link?.ask(request);
    if (answer?.type !== "reply") return "There is no connection.";
    if (!answer.ok) return answer.error;
    if (first && answer.code) code.value = { what: "Look", code: answer.code };
    return answer;
  } catch (error) {
    if (error instanceof Lost) return "The run is gone.";
    throw error;
  }
}

async function answerTo(request: Asked, quiet: boolean): Promise<Reply | Inspection | null> {
  if (!link) return null;
  try {
    const answer = await link.ask(request);
    if (answer.type === "reply" && !answer.ok) {
      if (!quiet) notice.value = { text: answer.error, bad: true };
      return null;
    }
    if (answer.code && !quiet) code.value = { what: answer.type === "inspection" ? "Inspect" : "", code: answer.code };
    return answer;
  } catch (error) {
    if (error instanceof Lost) return null;
    throw error;
  }
}

/** Open a run. What was wrong before is settled by it, unless nobody asked for this run. */
export async function open(request: Omit<Extract<Asked, { type: "open" }>, "type">, byItself = false): Promise<boolean> {
  busy.value = "Preparing the run…";
  const reply = await ask({ type: "open", ...request });
  busy.value = "";
  if (reply && !byItself) notice.value = null;
  unasked = byItself && !reply;
  // A run has come by itself meanwhile: what was refused is not missed.
  if (unasked && run.peek()) notice.value = null;
  return reply !== null;
}

export const play = () => void ask({ type: "play" });
export const pause = () => void ask({ type: "pause" });
export const toggle = () => (playing.value ? pause() : play());

/** The values of settings on a branch at an update: as opened, then every change up to there. */
export function settingsAt(branch: number, u: number): Record<string, unknown> {
  const values: Record<string, unknown> = Object.fromEntries((run.value?.settings ?? []).map((s) => [s.name, s.value]));
  for (const part of lineage(branches.value, branch)) {
    const until = Math.min(u, part.to);
    for (const event of events.value) {
      if (event.branch !== part.id || event.u > until) continue;
      if (event.kind === "set" || event.kind === "fork") Object.assign(values, (event.data as { patch?: object }).patch ?? {});
    }
  }
  return values;
}

/** World and exact solution on a branch at an update. */
export function truthAt(branch: number, u: number): { exact: Exact | null; world: World | null } {
  let exact = run.value?.exact ?? null;
  let world = run.value?.world ?? null;
  for (const part of lineage(branches.value, branch)) {
    for (const told of exacts.get(part.id) ?? []) {
      if (told.u > Math.min(u, part.to)) continue;
      exact = told.exact;
      world = told.world ?? world;
    }
  }
  return { exact, world };
}

/** The curves of a branch with those that it left, earliest first. */
export function curvesOf(branch: number, name: string): { curve: Curve; to: number }[] {
  return lineage(branches.value, branch).flatMap(({ id, to }) => {
    const curve = curves.get(id)?.get(name);
    return curve ? [{ curve, to }] : [];
  });
}
