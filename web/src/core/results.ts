// Runs and results as the server summarises them, and how they are written out again. Statistics come from it.

export interface Row {
  path: string;
  name: string;
  algorithm: string;
  env: string;
  backend: string;
  preset: string | null;
  seeds: number;
  steps: number;
  mean: number | null;
  iqm: number | null;
  iqm_ci95: [number, number] | null;
  /** Else what it earned last in training. */
  finished: boolean;
  returns_per_seed: number[];
  steps_per_second: number | null;
  wall_seconds: number | null;
  settings: Record<string, unknown>;
  curve: { x: number[]; mean: (number | null)[]; low: (number | null)[]; high: (number | null)[] } | null;
}

export interface Group {
  env: string;
  key: string;
  n: number;
  runs: number[];
  mean: number | null;
  iqm: number | null;
  iqm_ci95: [number, number] | null;
}

export interface PlayEnv {
  env_id: string;
  policy: string;
  episodes: number;
  avg_return: number;
  best_return: number;
  returns: { episode: number; return_: number; length: number }[];
}

export interface Results {
  path: string;
  generated_at: string;
  episodes_per_env: number;
  policy: string;
  envs: PlayEnv[];
}

export interface Comparison {
  rows: Row[];
  groupings: Record<string, Group[]>;
  improvement: { a: number; b: number; env: string; p: number }[];
  results: Results[];
  errors: { path: string; error: string }[];
}

export const NOTHING: Comparison = { rows: [], groupings: {}, improvement: [], results: [], errors: [] };

const field = (value: unknown) => {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** The table of runs and of played episodes as CSV, every digit kept. */
export function toCsv(data: Comparison): string {
  const lines = [["kind", "name", "algorithm", "env", "seeds_or_episodes", "steps", "mean", "iqm", "iqm_low", "iqm_high", "best", "steps_per_second", "returns"]];
  for (const r of data.rows) {
    lines.push(
      ["run", r.name, r.algorithm, r.env, r.seeds, r.steps, r.mean, r.iqm, r.iqm_ci95?.[0], r.iqm_ci95?.[1], "", r.steps_per_second, r.returns_per_seed.join(" ")].map(field),
    );
  }
  for (const result of data.results) {
    for (const e of result.envs) {
      lines.push(
        ["play", result.path, e.policy, e.env_id, e.episodes, "", e.avg_return, "", "", "", e.best_return, "", e.returns.map((r) => r.return_).join(" ")].map(field),
      );
    }
  }
  return `${lines.map((line) => line.join(",")).join("\r\n")}\r\n`;
}

/** JSON that can stand in a script element of a page. */
export const embedded = (data: unknown) => JSON.stringify(data).replaceAll("<", "\\u003c").replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");

/** One page that holds everything and asks nobody for anything; as `fathom dashboard` writes it. */
export function standalone(data: Comparison, css: string, js: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<title>Fathom: results</title>
<style>${css}</style>
</head>
<body>
<div id="app"></div>
<script type="application/json" id="fathom-data">${embedded(data)}</script>
<script>${js}</script>
</body>
</html>
`;
}
