// Written by `python -m fathom.hub.messages`; change src/fathom/hub/messages.py instead.

export const VERSION = 1;
export const REQUEST_BYTES = 262144;
export const HZ = 60;
export const CHANNELS = ["values", "visits", "td", "traces", "agent", "view", "series"] as const;

/** An array: little-endian numbers, the last axis fastest. */
export interface Tensor {
  d: "f4" | "i4" | "u4" | "u1";
  s: number[];
  b: Uint8Array;
}

/** What does the same outside of the page. */
export interface Code {
  cli: string;
  python: string;
}

/** Where a connection was lost. */
export interface Resume {
  session: string;
  seq: number;
}

/** The first message on a connection. */
export interface Hello {
  type: "hello";
  id: number;
  v: number;
  token: string;
  resume?: Resume | null;
}

/** Begin a run. One of `env` (with `algo`), `share` and `file` says which. */
export interface Open {
  type: "open";
  id: number;
  algo?: string;
  env?: string;
  map?: string | null;
  config?: Record<string, unknown>;
  seeds?: number;
  seed?: number;
  horizon?: number | null;
  share?: string | null;
  file?: string | null;
}

/** Ask for channels, at most `hz` times a second. */
export interface Sub {
  type: "sub";
  id: number;
  channels: string[];
  hz?: number;
}

/** Ask for channels no longer. */
export interface Unsub {
  type: "unsub";
  id: number;
  channels: string[];
}

/** Go on, in all branches that are in focus. */
export interface Play {
  type: "play";
  id: number;
}

/** Stop where it is. */
export interface Pause {
  type: "pause";
  id: number;
}

/** Pause, and make n steps of the branches in focus. */
export interface Step {
  type: "step";
  id: number;
  n?: number;
  unit?: "env" | "update" | "episode";
}

/** How fast to play. */
export interface Speed {
  type: "speed";
  id: number;
  steps_per_s?: number | null;
}

/** Change live settings; where later updates are known, the change begins a new branch. */
export interface Set {
  type: "set";
  id: number;
  patch: Record<string, number>;
  branch?: number | null;
}

/** Change the state of the run by hand. */
export interface Surgery {
  type: "surgery";
  id: number;
  op: "value" | "paint" | "move" | "reset_optimiser" | "clear_buffer";
  args?: Record<string, unknown>;
  branch?: number | null;
}

/** Begin a branch from a past update, or from now; the branches in focus become parent and child. */
export interface Fork {
  type: "fork";
  id: number;
  at?: number | null;
  patch?: Record<string, number>;
  label?: string;
  branch?: number | null;
  before?: boolean;
}

/** Which branches are trained and shown; the first is the one that requests without a branch mean. */
export interface Focus {
  type: "focus";
  id: number;
  branches: number[];
}

/** Go to an update between 0 and the branch's tip. */
export interface Seek {
  type: "seek";
  id: number;
  u: number;
  branch?: number | null;
  before?: boolean;
}

/** Ask for the backups of a value of one seed; without an action, of that last taken in the state. */
export interface Inspect {
  type: "inspect";
  id: number;
  state: number;
  action?: number | null;
  seed?: number;
  u?: number | null;
  branch?: number | null;
}

/** Take the stage of the deep lab in hand: training is not touched. */
export interface Drive {
  type: "drive";
  id: number;
  action?: number[] | null;
  push?: Record<string, number>;
  reset?: boolean;
}

/** Policies of past updates to show on stage beside the present one, by update. */
export interface Exhibit {
  type: "exhibit";
  id: number;
  at: number[];
}

/** Ask how far the next update moves the odds of what was done, and how good that was. */
export interface Ratios {
  type: "ratios";
  id: number;
  seed?: number;
  branch?: number | null;
}

/** Ask what actions are taken to be worth, and what they bring in episodes of their own. */
export interface Returns {
  type: "returns";
  id: number;
  seed?: number;
  branch?: number | null;
}

/** Ask for a link to what is shown. */
export interface Share {
  type: "share";
  id: number;
}

/** Forget the run and what was asked for: the page is closed. The server says so for it. */
export interface Leave {
  type: "leave";
  id: number;
}

/** Ask for a sign of life. */
export interface Ping {
  type: "ping";
  id: number;
  t?: number;
}

/** The answer to `hello`; it has no number. */
export interface Welcome {
  type: "welcome";
  v: number;
  session: string;
  version: string;
  resumed: boolean;
}

/** One field of the algorithm (`alpha`) or the environment (`env.slip`). */
export interface Setting {
  name: string;
  value: number | string | boolean | unknown[] | null;
  live: boolean;
  kind: "float" | "int" | "bool" | "choice" | "text" | "list";
  low: number | null;
  high: number | null;
  scale: "linear" | "log";
  choices: string[];
  doc: string;
  symbol: string;
  group: "algorithm" | "environment";
  fields: string[];
}

/** A finite environment as cells; those that are no grid are a row. */
export interface World {
  rows: number;
  cols: number;
  letters: string[];
  painted: boolean;
  legend: Record<string, string>;
  walls: boolean[];
  acts: boolean[];
  arrows: string[];
  actions: string[];
  states: number;
  plain: boolean;
  start: number[];
}

/** What is drawn, without its numbers: those come in the order of `counts` with each `view`. */
export interface Shape {
  kind: "polygon" | "circle" | "line" | "text" | "tiles";
  color: string;
  at: number;
  counts: number[];
  width: number;
  text: string;
  size: number | null;
  roles: string[];
  rows: number;
  cols: number;
  round: boolean;
}

/** The picture of an environment: shapes over a row of numbers, of which frames send those that move. */
export interface Stage {
  shapes: Shape[];
  extent: number[];
  numbers: Tensor;
  moving: number[];
  pushes: string[];
  actions: string[];
  action_low: number[];
  action_high: number[];
}

/** What dynamic programming says of the world as it is: float64 rounded to float32. */
export interface Exact {
  v: Tensor;
  q: Tensor;
  start: number;
  gamma: number;
}

/** A line of history. */
export interface Branch {
  id: number;
  parent: number | null;
  at: number;
  u: number;
  tip: number;
  label: string;
}

/** A run begins: forget the one before. */
export interface Run {
  type: "run";
  seq: number;
  kind: "tabular" | "deep";
  algo: string;
  env: string;
  title: string;
  settings: Setting[];
  world: World | null;
  stage: Stage | null;
  exact: Exact | null;
  seeds: number;
  seed: number;
  horizon: number;
  steps_per_update: number;
  channels: string[];
  can: string[];
  branches: Branch[];
  focus: number[];
  playing: boolean;
  speed: number | null;
  code: Code;
}

/** What happened in the updates u0 … u0 + du − 1: sums and counts of each seed; any two add up. */
export interface Series {
  type: "series";
  seq: number;
  branch: number;
  u0: number;
  du: number;
  sums: Record<string, Tensor>;
  counts: Record<string, Tensor>;
}

/** Something that happened once, for the timeline. */
export interface Event {
  type: "event";
  seq: number;
  kind: "open" | "set" | "surgery" | "fork" | "snapshot" | "milestone" | "finding" | "seek" | "state" | "exact" | "gap" | "error";
  branch: number;
  u: number;
  text: string;
  data: Record<string, unknown>;
  code: Code | null;
}

/** The answer to the request of that id. */
export interface Reply {
  type: "reply";
  seq: number;
  id: number;
  ok: boolean;
  error: string;
  data: Record<string, unknown>;
  code: Code | null;
}

/** How it looks now. Only the newest matters: frames are dropped where the page is slow. */
export interface Frame {
  type: "frame";
  branch: number;
  u: number;
  tip: number;
  hash: string;
  playing: boolean;
  steps_per_s: number;
  arrays: Record<string, Tensor>;
  jpeg: Uint8Array | null;
}

/** A number in an equation. */
export interface Term {
  symbol: string;
  name: string;
  value: number;
}

/** One change of a value, with the numbers that went into it. */
export interface Backup {
  u: number;
  state: number;
  action: number;
  reward: number;
  next_state: number;
  terminated: boolean;
  old: number;
  new: number;
  target: number | null;
  td_error: number | null;
  alpha: number;
  terms: Term[];
  text: string;
}

/** Lines of the library. */
export interface Source {
  path: string;
  first: number;
  lines: string[];
}

/** The answer to `inspect`. */
export interface Inspection {
  type: "inspection";
  seq: number;
  id: number;
  branch: number;
  u: number;
  seed: number;
  state: number;
  action: number;
  equation: string;
  plain: string;
  backups: Backup[];
  values: Tensor;
  exact: Tensor | null;
  outcomes: number[][];
  source: Source;
  code: Code;
}

export type Request =
  | Hello
  | Open
  | Sub
  | Unsub
  | Play
  | Pause
  | Step
  | Speed
  | Set
  | Surgery
  | Fork
  | Focus
  | Seek
  | Inspect
  | Drive
  | Exhibit
  | Ratios
  | Returns
  | Share
  | Leave
  | Ping;

export type Message =
  | Welcome
  | Run
  | Series
  | Event
  | Reply
  | Inspection
  | Frame;
