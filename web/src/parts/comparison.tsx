// Runs and results beside one another: for the page and for the file that stands alone.

import { useEffect, useRef, useState } from "preact/hooks";
import { compact, count, fixed, short } from "../core/format";
import { type Comparison, type Results, type Row, toCsv } from "../core/results";
import { theme } from "../core/theme";
import { curves, intervals, sparkline, stacked } from "../draw/figures";
import { Button, Segments } from "./ui";

/** Our own SVG text: every word in it is escaped where it is written. */
function Figure({ svg }: { svg: string }) {
  return <div class="figure" dangerouslySetInnerHTML={{ __html: svg }} />;
}

export function save(name: string, content: string | Blob, type: string): void {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const a = document.createElement("a");
  a.href = url;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

async function toPng(svg: string, scale = 2): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.width * scale;
  canvas.height = image.height * scale;
  const c = canvas.getContext("2d");
  if (!c) throw new Error("this browser has no canvas to draw a PNG on.");
  c.scale(scale, scale);
  c.drawImage(image, 0, 0);
  return new Promise((done, failed) => canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("the PNG could not be written."))), "image/png"));
}

const COLUMNS: { key: string; name: string; num?: boolean; of: (r: Row) => string | number | null; show: (r: Row) => string }[] = [
  { key: "name", name: "Run", of: (r) => r.name, show: (r) => r.name },
  { key: "algorithm", name: "Algorithm", of: (r) => r.algorithm, show: (r) => r.algorithm },
  { key: "env", name: "Environment", of: (r) => r.env, show: (r) => r.env },
  { key: "seeds", name: "Seeds", num: true, of: (r) => r.seeds, show: (r) => count(r.seeds) },
  { key: "steps", name: "Steps", num: true, of: (r) => r.steps, show: (r) => compact(r.steps) },
  { key: "mean", name: "Mean", num: true, of: (r) => r.mean, show: (r) => (r.mean === null ? "–" : short(r.mean, 4)) },
  { key: "iqm", name: "IQM", num: true, of: (r) => r.iqm, show: (r) => (r.iqm === null ? "–" : short(r.iqm, 4)) },
  { key: "ci", name: "95 % interval", num: true, of: (r) => r.iqm_ci95?.[0] ?? null, show: (r) => (r.iqm_ci95 ? `${short(r.iqm_ci95[0], 4)} … ${short(r.iqm_ci95[1], 4)}` : "–") },
  { key: "speed", name: "Steps/s", num: true, of: (r) => r.steps_per_second, show: (r) => (r.steps_per_second === null ? "–" : compact(r.steps_per_second)) },
];

/** Rows in order of a column; what is not known comes last, whichever way. */
export function sorted<T>(rows: readonly T[], of: (row: T) => string | number | null, down: boolean): T[] {
  return [...rows].sort((a, b) => {
    const [x, y] = [of(a), of(b)];
    if (x === null || y === null) return x === y ? 0 : x === null ? 1 : -1;
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return down ? -order : order;
  });
}

interface Props {
  data: Comparison;
  /** Makes the file that stands alone, where that can be done. */
  page?: () => Promise<string>;
  /** Takes a run up in the lab, where there is one. */
  onOpen?: (path: string) => void;
}

export function ComparisonView({ data, page, onOpen }: Props) {
  const [env, setEnv] = useState("");
  const [by, setBy] = useState("");
  const [sort, setSort] = useState<{ key: string; down: boolean }>({ key: "iqm", down: true });
  const [failed, setFailed] = useState("");
  const [width, setWidth] = useState(760);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!box.current) return;
    const measure = new ResizeObserver(([entry]) => setWidth(Math.max(300, Math.round(entry.contentRect.width))));
    measure.observe(box.current);
    return () => measure.disconnect();
  }, []);
  const mode = theme.value;
  const envs = [...new Set(data.rows.map((r) => r.env))];
  const index = new Map(data.rows.map((r, i) => [r, i]));
  const shown = data.rows.filter((r) => env === "" || r.env === env);
  const column = COLUMNS.find((c) => c.key === sort.key) ?? COLUMNS[0];
  const rows = sorted(shown, column.of, sort.down);
  const half = width > 900 ? Math.floor((width - 20) / 2) - 44 : width - 44;
  const perEnv = (env ? [env] : envs).map((name) => ({ name, rows: rows.filter((r) => r.env === name) }));
  const drawn = (theme_: "light" | "dark", at: number, opaque: boolean) =>
    perEnv.map(({ name, rows: mine }) => ({
      name,
      intervals: intervals(
        mine.map((r) => ({ label: r.name, note: `${r.algorithm}, ${count(r.seeds)} seeds${r.finished ? "" : ", unfinished"}`, middle: r.iqm, interval: r.iqm_ci95, points: r.returns_per_seed })),
        `${name}: IQM of the return, with 95 % interval`,
        theme_,
        at,
        opaque,
      ),
      curves: curves(
        mine.flatMap((r) => (r.curve?.x.length ? [{ label: r.name, x: r.curve.x, middle: r.curve.mean, low: r.curve.low, high: r.curve.high }] : [])),
        "steps of each seed",
        `${name}: return of an episode`,
        theme_,
        at,
        opaque,
      ),
    }));
  const groups = by ? (data.groupings[by] ?? []) : [];
  const figureFile = () => stacked(drawn("light", 760, true).flatMap((f) => [f.intervals, f.curves].filter(Boolean)));
  const guard = (work: Promise<void>) => void work.then(() => setFailed(""), (error: Error) => setFailed(error.message));
  const episodes = data.results.reduce((n, r) => n + r.envs.reduce((m, e) => m + e.episodes, 0), 0);
  const best = (of: Row[]) => sorted(of.filter((r) => r.iqm !== null), (r) => r.iqm, true)[0];
  return (
    <div class="compare" ref={box}>
      <div class="chips">
        <Chip value={count(data.rows.length)} text={data.rows.length === 1 ? "run" : "runs"} />
        <Chip value={count(data.rows.reduce((n, r) => n + r.seeds, 0))} text="seeds in all" />
        {data.results.length > 0 && <Chip value={count(episodes)} text="episodes played" />}
        {perEnv.slice(0, 4).map(({ name, rows: mine }) => {
          const first = best(mine);
          return first ? <Chip key={name} value={short(first.iqm!, 4)} text={`best IQM on ${name}: ${first.name}`} /> : null;
        })}
      </div>
      {data.rows.length > 0 && (
        <>
          <div class="row no-print">
            {envs.length > 1 && (
              <Segments
                label="Environment"
                value={env}
                onChange={setEnv}
                options={[{ value: "", text: "All" }, ...envs.map((e) => ({ value: e, text: e }))]}
              />
            )}
            <label class="row small soft">
              Group by
              <select class="narrow" value={by} onChange={(e) => setBy(e.currentTarget.value)} data-testid="group">
                <option value="">nothing</option>
                {Object.keys(data.groupings).map((name) => (
                  <option key={name} value={name}>
                    {name.replaceAll("_", " ")}
                  </option>
                ))}
              </select>
            </label>
            <span class="grow" />
            <span class="row" role="group" aria-label="Export">
              <Button look="tiny" icon="down" onClick={() => save("fathom.csv", toCsv(data), "text/csv")}>
                CSV
              </Button>
              <Button look="tiny" icon="down" onClick={() => save("fathom.svg", figureFile(), "image/svg+xml")}>
                SVG
              </Button>
              <Button look="tiny" icon="down" onClick={() => guard(toPng(figureFile()).then((png) => save("fathom.png", png, "image/png")))}>
                PNG
              </Button>
              {page && (
                <Button look="tiny" icon="down" onClick={() => guard(page().then((html) => save("fathom.html", html, "text/html")))}>
                  One page
                </Button>
              )}
            </span>
          </div>
          {failed && (
            <p class="notice bad" role="alert">
              {failed}
            </p>
          )}
          {by &&
            perEnv.map(({ name }) => (
              <section class="card" key={name} aria-label={`${name} by ${by}`}>
                <header>
                  <h2>
                    {name} by {by.replaceAll("_", " ")}
                  </h2>
                </header>
                <Figure
                  svg={intervals(
                    groups
                      .filter((g) => g.env === name)
                      .map((g) => ({ label: g.key, note: `${count(g.n)} seeds of ${count(g.runs.length)} ${g.runs.length === 1 ? "run" : "runs"}`, middle: g.iqm, interval: g.iqm_ci95, points: [] })),
                    "IQM of the return, with 95 % interval",
                    mode,
                    width - 44,
                  )}
                />
              </section>
            ))}
          {drawn(mode, half, false).map((f) => (
            <div class="two" key={f.name}>
              <section class="card" aria-label={`Final returns on ${f.name}`}>
                <header>
                  <h2>{f.name}</h2>
                  <span class="reading">final greedy return</span>
                </header>
                <Figure svg={f.intervals} />
              </section>
              {f.curves && (
                <section class="card" aria-label={`Learning curves on ${f.name}`}>
                  <header>
                    <h2>While learning</h2>
                  </header>
                  <Figure svg={f.curves} />
                </section>
              )}
            </div>
          ))}
          <section class="card" aria-labelledby="runs">
            <header>
              <h2 id="runs">Runs</h2>
            </header>
            <div class="scroll free" tabIndex={0} role="region" aria-label="Table of runs">
              <table>
                <thead>
                  <tr>
                    {COLUMNS.map((c) => (
                      <th key={c.key} scope="col" class={c.num ? "num" : ""} aria-sort={sort.key === c.key ? (sort.down ? "descending" : "ascending") : undefined}>
                        <button type="button" onClick={() => setSort({ key: c.key, down: sort.key === c.key ? !sort.down : Boolean(c.num) })}>
                          {c.name}
                          {sort.key === c.key ? (sort.down ? " ↓" : " ↑") : ""}
                        </button>
                      </th>
                    ))}
                    <th scope="col">Curve</th>
                    {onOpen && <th scope="col">In the lab</th>}
                  </tr>
                </thead>
                <tbody>
                  {rows.map((r) => (
                    <tr key={r.path}>
                      {COLUMNS.map((c) =>
                        c.key === "name" ? (
                          <th key={c.key} scope="row" title={r.path}>
                            {c.show(r)}
                          </th>
                        ) : (
                          <td key={c.key} class={c.num ? "num" : ""}>
                            {c.show(r)}
                          </td>
                        ),
                      )}
                      <td>{r.curve && <Figure svg={sparkline(r.curve.mean, `Return of ${r.name} while learning`, mode)} />}</td>
                      {onOpen && (
                        <td>
                          <Button look="tiny" icon="play" onClick={() => onOpen(r.path)} aria-label={`Take up ${r.name} in the lab`}>
                            Take up
                          </Button>
                        </td>
                      )}
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </section>
          <Improvement data={data} shown={new Set(shown.map((r) => index.get(r)!))} />
        </>
      )}
      {data.results.map((r) => (
        <Played key={r.path} results={r} />
      ))}
      {data.errors.length > 0 && (
        <section class="card" aria-labelledby="errors">
          <header>
            <h2 id="errors">Not shown</h2>
          </header>
          <ul class="findings">
            {data.errors.map((e) => (
              <li key={e.path}>
                <code>{e.path}</code>: {e.error}
              </li>
            ))}
          </ul>
        </section>
      )}
    </div>
  );
}

function Chip({ value, text }: { value: string; text: string }) {
  return (
    <div class="chip">
      <b>{value}</b>
      <span>{text}</span>
    </div>
  );
}

function Improvement({ data, shown }: { data: Comparison; shown: Set<number> }) {
  // Of each pair the better one comes first; the other way round is 1 − P.
  const pairs = data.improvement.filter((p) => shown.has(p.a) && shown.has(p.b) && (p.p > 0.5 || (p.p === 0.5 && p.a < p.b)));
  if (!pairs.length) return null;
  return (
    <section class="card" aria-labelledby="improvement">
      <header>
        <h2 id="improvement">Probability of improvement</h2>
        <span class="reading">that a seed of the first does better than one of the second</span>
      </header>
      <div class="scroll" tabIndex={0} role="region" aria-label="Table of pairs">
        <table>
          <thead>
            <tr>
              <th scope="col">First</th>
              <th scope="col">Second</th>
              <th scope="col">Environment</th>
              <th scope="col" class="num">P</th>
              <th scope="col">
                <span class="visually-hidden">as a bar</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {pairs.map((p) => (
              <tr key={`${p.a}/${p.b}`}>
                <th scope="row">{data.rows[p.a]?.name}</th>
                <td>{data.rows[p.b]?.name}</td>
                <td>{p.env}</td>
                <td class="num">{fixed(p.p, 2)}</td>
                <td>
                  <svg class="share" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
                    <rect width="100" height="8" rx="2" class="rest" />
                    <rect width={p.p * 100} height="8" rx="2" />
                    <line x1="50" x2="50" y1="0" y2="8" />
                  </svg>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Played({ results }: { results: Results }) {
  const mode = theme.value;
  return (
    <section class="card" aria-label={`Played: ${results.path}`}>
      <header>
        <h2>Played with the policy “{results.policy}”</h2>
        <span class="reading">
          {results.path} · {results.generated_at}
        </span>
      </header>
      <div class="scroll free" tabIndex={0} role="region" aria-label="Played episodes">
        <table>
          <thead>
            <tr>
              <th scope="col">Environment</th>
              <th scope="col">Policy</th>
              <th scope="col" class="num">Episodes</th>
              <th scope="col" class="num">Mean return</th>
              <th scope="col" class="num">Best</th>
              <th scope="col" class="num">Mean length</th>
              <th scope="col">Returns</th>
            </tr>
          </thead>
          <tbody>
            {results.envs.map((e) => (
              <tr key={e.env_id}>
                <th scope="row">{e.env_id}</th>
                <td>{e.policy}</td>
                <td class="num">{count(e.episodes)}</td>
                <td class="num">{short(e.avg_return, 4)}</td>
                <td class="num">{short(e.best_return, 4)}</td>
                <td class="num">{e.returns.length ? short(e.returns.reduce((n, r) => n + r.length, 0) / e.returns.length, 3) : "–"}</td>
                <td>
                  <Figure svg={sparkline(e.returns.map((r) => r.return_), `Returns of ${e.episodes} episodes on ${e.env_id}`, mode)} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
