// The backup inspector: how a value came to be what it is, with the run's own numbers.

import { useEffect, useState } from "preact/hooks";
import { count, fixed, parse, short } from "../core/format";
import { active, ask, can, frames, inspect, slow } from "../core/session";
import { numbers } from "../core/tensor";
import type { Inspection, World } from "../messages";
import { Formula } from "./formula";
import { Button } from "./ui";

interface Props {
  world: World;
  algo: string;
  state: number;
  cell: number;
  seed: number;
  seeds: number;
  onClose: () => void;
}

const place = (world: World, cell: number) => (world.rows === 1 ? `state ${cell}` : `row ${Math.floor(cell / world.cols) + 1}, column ${(cell % world.cols) + 1}`);

export function Inspector({ world, algo, state, cell, seed, seeds, onClose }: Props) {
  const [found, setFound] = useState<Inspection | null>(null);
  const [action, setAction] = useState<number | null>(null);
  const [editing, setEditing] = useState<{ action: number; text: string } | null>(null);
  const branch = active.value;
  const frame = frames.get(branch);
  slow.value;
  // Asked anew when the state has moved on, at most a few times a second.
  // The fingerprint tells of edits too, which move nothing on.
  const due = `${branch}/${state}/${seed}/${action}/${frame?.u}/${frame?.hash}`;
  const [asked, setAsked] = useState("");
  useEffect(() => {
    if (asked === due) return;
    let stale = false;
    const timer = setTimeout(
      () => {
        setAsked(due);
        void inspect({ type: "inspect", state, action, seed, branch }).then((it) => {
          if (!stale && it) setFound(it);
        });
      },
      found && found.state === state && found.seed === seed && (action === null || found.action === action) ? 240 : 0,
    );
    return () => {
      stale = true;
      clearTimeout(timer);
    };
  }, [due]);
  useEffect(() => setAction(null), [state]);
  const names = world.actions;
  const here = found && found.state === state ? found : null;
  const last = here?.backups[here.backups.length - 1];
  const values = here ? numbers(here.values) : null;
  const exact = here?.exact ? numbers(here.exact) : null;
  const shown = here?.action ?? action ?? 0;
  const commit = (every: boolean) => {
    if (!editing) return;
    const value = parse(editing.text);
    if (Number.isFinite(value)) {
      void ask({ type: "surgery", op: "value", branch, args: { state, action: editing.action, value, ...(every ? {} : { seed }) } });
    }
    setEditing(null);
  };
  return (
    <section class="card inspector" aria-labelledby="inspector" data-testid="inspector">
      <header>
        <h2 id="inspector">
          {place(world, cell)} <span class="soft">· seed {seed}</span>
        </h2>
        <Button look="tiny plain" icon="close" title="Close the inspector" onClick={onClose} />
      </header>
      {!here ? (
        <p class="soft small">Looking…</p>
      ) : (
        <>
          <table class="actions">
            <caption class="visually-hidden">Values of the actions here</caption>
            <thead>
              <tr>
                <th scope="col">Action</th>
                <th scope="col" class="num">Value</th>
                {exact && <th scope="col" class="num">Exact</th>}
                <th scope="col">
                  <span class="visually-hidden">Edit</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {Array.from({ length: values!.length === 1 ? 1 : names.length }, (_, a) => (
                <tr key={a} aria-selected={a === shown}>
                  <th scope="row">
                    <button type="button" onClick={() => setAction(a)} aria-label={`Show the updates of ${names[a] ?? "the value"}`}>
                      {world.arrows[a]} {values!.length === 1 ? "V(s)" : names[a]}
                    </button>
                  </th>
                  <td class="num" data-testid={`q-${a}`}>
                    {editing?.action === a ? (
                      <input
                        type="text"
                        inputMode="decimal"
                        aria-label={`New value of ${names[a]}`}
                        value={editing.text}
                        ref={(el) => {
                          if (el && document.activeElement !== el) el.focus();
                        }}
                        onInput={(e) => setEditing({ action: a, text: e.currentTarget.value })}
                        onKeyDown={(e) => {
                          if (e.key === "Enter") commit(false);
                          if (e.key === "Escape") setEditing(null);
                        }}
                      />
                    ) : (
                      fixed(values![a], 4)
                    )}
                  </td>
                  {exact && <td class="num">{fixed(exact[a], 4)}</td>}
                  <td class="num">
                    {can("surgery") &&
                      (editing?.action === a ? (
                        <span class="row">
                          <Button look="tiny" onClick={() => commit(false)}>Set</Button>
                          {seeds > 1 && <Button look="tiny" onClick={() => commit(true)}>All seeds</Button>}
                        </span>
                      ) : (
                        <Button look="tiny plain" onClick={() => setEditing({ action: a, text: String(Number(values![a].toFixed(4))) })} aria-label={`Edit the value of ${names[a] ?? "the state"}`}>
                          Edit
                        </Button>
                      ))}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
          <h3 class="spaced">The update of {values!.length === 1 ? "V(s)" : `Q(s, ${names[shown]})`}</h3>
          <Formula name={algo} plain={here.plain} />
          {last ? (
            <>
              <dl class="terms">
                {last.terms.map((t) => (
                  <div key={t.symbol + t.name}>
                    <dt>
                      <span class="symbol">{t.symbol}</span>
                      <span class="means">{t.name}</span>
                    </dt>
                    <dd data-testid={`term-${t.symbol}`}>{fixed(t.value, 4)}</dd>
                  </div>
                ))}
              </dl>
              <p class="arithmetic" data-testid="arithmetic">{last.text}</p>
              <p class="small soft">
                {last.td_error !== null && <>TD error {fixed(last.td_error, 4)}. </>}
                Made at step {count(last.u)}
                {last.terminated ? "; the episode ended there." : "."}
              </p>
              <details class="fold">
                <summary>The last {here.backups.length} updates of this value</summary>
                <div class="scroll" tabIndex={0} role="region" aria-label="Updates">
                  <table data-testid="backups">
                    <thead>
                      <tr>
                        <th scope="col" class="num">Step</th>
                        <th scope="col" class="num">Reward</th>
                        <th scope="col" class="num">Target</th>
                        <th scope="col" class="num">Error</th>
                        <th scope="col" class="num">Before</th>
                        <th scope="col" class="num">After</th>
                      </tr>
                    </thead>
                    <tbody>
                      {[...here.backups].reverse().map((b) => (
                        <tr key={b.u}>
                          <th scope="row" class="num">{count(b.u)}</th>
                          <td class="num">{short(b.reward)}</td>
                          <td class="num">{b.target === null ? "–" : fixed(b.target, 4)}</td>
                          <td class="num">{b.td_error === null ? "–" : fixed(b.td_error, 4)}</td>
                          <td class="num">{fixed(b.old, 4)}</td>
                          <td class="num">{fixed(b.new, 4)}</td>
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </div>
              </details>
            </>
          ) : (
            <p class="small soft">This value has not been updated in what is remembered of the run.</p>
          )}
          {here.outcomes.length > 0 && (
            <details class="fold">
              <summary>Where it may lead</summary>
              <table>
                <thead>
                  <tr>
                    <th scope="col" class="num">Probability</th>
                    <th scope="col" class="num">Reward</th>
                    <th scope="col">To</th>
                  </tr>
                </thead>
                <tbody>
                  {here.outcomes.map(([p, reward, next, ends], i) => (
                    <tr key={i}>
                      <td class="num">{fixed(p, 3)}</td>
                      <td class="num">{short(reward)}</td>
                      <td>
                        {world.plain ? place(world, next) : `state ${next}`}
                        {ends ? ", the end" : ""}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </details>
          )}
          <details class="fold source">
            <summary>
              <code>
                {here.source.path}:{here.source.first}
              </code>
            </summary>
            <pre tabIndex={0} aria-label="The lines of the library that compute it">
              {here.source.lines.map((line, i) => `${String(here.source.first + i).padStart(4)}  ${line}`).join("\n")}
            </pre>
          </details>
        </>
      )}
    </section>
  );
}
