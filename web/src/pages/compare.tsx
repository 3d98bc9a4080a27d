// Compare: run folders and results files of the served folder, and files dropped on the page.

import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { api } from "../core/catalogue";
import { shortcuts } from "../core/keys";
import { type Comparison, NOTHING, type Results, standalone } from "../core/results";
import { compact } from "../core/format";
import { recipe } from "../core/recipe";
import { busy, can, notice, open, run } from "../core/session";
import { ComparisonView } from "../parts/comparison";
import { Button, Notices } from "../parts/ui";

const served = signal<Comparison | null>(null);
const dropped = signal<Results[]>([]);
const recordings = signal<{ path: string; bytes: number }[]>([]);

async function load(): Promise<void> {
  try {
    served.value = { ...NOTHING, ...(await api<Comparison>("compare")) };
    recordings.value = (await api<{ recordings?: { path: string; bytes: number }[] }>("runs")).recordings ?? [];
  } catch (error) {
    served.value ??= NOTHING;
    notice.value = { text: `The runs could not be read: ${(error as Error).message}`, bad: true };
  }
}

/** Play a recording as if it happened now, or take up a run folder from its checkpoint. */
async function show(file: string): Promise<void> {
  if (!(await open({ file })) || !run.value) return;
  const { kind, algo, env, seeds, seed } = run.value;
  recipe.value = { algo, env, map: null, config: {}, seeds, seed };
  location.hash = kind === "deep" ? "#/deep" : "#/tabular";
}

async function take(files: Iterable<File>): Promise<void> {
  for (const file of files) {
    try {
      // The server checks it: one reader for files that come by the folder and by the page.
      const results = await api<Results>("results", {}, await file.text());
      dropped.value = [...dropped.value.filter((r) => r.path !== file.name), { ...results, path: file.name }];
      notice.value = null;
    } catch (error) {
      notice.value = { text: `${file.name} cannot be shown: ${(error as Error).message}`, bad: true };
    }
  }
}

async function page(data: Comparison): Promise<string> {
  const read = async (name: string) => {
    const answer = await fetch(`/static/${name}`);
    if (!answer.ok) throw new Error(`${name} could not be read from the server: ${answer.status}.`);
    return answer.text();
  };
  return standalone(data, await read("dashboard.css"), await read("dashboard.js"));
}

export function Compare() {
  const [over, setOver] = useState(false);
  useEffect(() => {
    void load();
    shortcuts.value = [{ key: "r", shown: "R", what: "Read the folder again", run: () => void load() }];
    return () => {
      shortcuts.value = [];
    };
  }, []);
  const data = served.value;
  const all = data ? { ...data, results: [...data.results, ...dropped.value] } : null;
  const empty = all && !recordings.value.length && !all.rows.length && !all.results.length && !all.errors.length;
  return (
    <div
      class={over ? "drop over" : "drop"}
      onDragOver={(e) => {
        e.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(e) => {
        e.preventDefault();
        setOver(false);
        void take(e.dataTransfer?.files ?? []);
      }}
    >
      <div class="page-title">
        <h1>Compare</h1>
        <p class="soft small">Runs of the served folder. Results vary by seed, so every figure has an interval.</p>
      </div>
      <div class="toolbar">
        <Button hint="R" onClick={() => void load()}>
          Read again
        </Button>
        <label class="button">
          Add a results.json
          <input class="visually-hidden" type="file" accept=".json,application/json" multiple onChange={(e) => void take(e.currentTarget.files ?? [])} />
        </label>
      </div>
      <Notices />
      {busy.value && (
        <p class="soft" role="status">
          {busy.value}
        </p>
      )}
      {!all && (
        <p class="waiting soft" role="status">
          Reading the runs…
        </p>
      )}
      {empty && (
        <div class="card nothing">
          <h2>No runs here yet</h2>
          <p class="soft">Train some and they appear on this page:</p>
          <pre>fathom train ppo CartPole-v1{"\n"}fathom play --out results.json</pre>
        </div>
      )}
      {recordings.value.length > 0 && (
        <section class="card recordings" aria-labelledby="recordings">
          <header>
            <h2 id="recordings">Recordings</h2>
          </header>
          <ul class="findings">
            {recordings.value.map((r) => (
              <li key={r.path} class="row">
                <code>{r.path}</code>
                <span class="soft">{compact(r.bytes)} bytes</span>
                <span class="grow" />
                <Button look="tiny" icon="play" onClick={() => void show(r.path)} aria-label={`Play ${r.path}`}>
                  Play
                </Button>
              </li>
            ))}
          </ul>
        </section>
      )}
      {all && !empty && <ComparisonView data={all} page={() => page(all)} onOpen={can("open") || !run.value ? (path) => void show(path) : undefined} />}
    </div>
  );
}
