// The coach: why the agent does not learn, with the number seen, the healthy range and what to try.

import { count, short } from "../core/format";
import { findingsOf } from "../core/findings";
import { active, branches, events } from "../core/session";

export function Coach() {
  const found = findingsOf(events.value, branches.value, active.value);
  const open = found.filter((f) => !f.finding.over);
  const settled = found.filter((f) => f.finding.over);
  return (
    <section class="card" aria-labelledby="coach" data-testid="coach">
      <header>
        <h2 id="coach">Coach</h2>
        {open.length > 0 && <span class="reading">{open.length}</span>}
      </header>
      <div aria-live="polite">
        {open.length === 0 && <p class="soft small">Nothing stands in the way of learning, as far as the numbers tell.</p>}
        <ul class="findings">
          {open.map(({ u, finding }) => (
            <li key={finding.rule} class="finding">
              <p>
                <b>{finding.text.charAt(0).toUpperCase() + finding.text.slice(1)}.</b>
              </p>
              <dl>
                {finding.seen !== null && (
                  <div>
                    <dt>{finding.metric.replaceAll("_", " ")}</dt>
                    <dd>{short(finding.seen)}</dd>
                  </div>
                )}
                <div>
                  <dt>healthy</dt>
                  <dd>{finding.healthy}</dd>
                </div>
                <div>
                  <dt>try</dt>
                  <dd>{finding.advice}</dd>
                </div>
              </dl>
              <p class="small soft">
                Update {count(u)}; {finding.source}
              </p>
            </li>
          ))}
          {settled.map(({ u, finding }) => (
            <li key={finding.rule} class="soft small">
              Settled by update {count(u)}: {finding.text}
            </li>
          ))}
        </ul>
      </div>
    </section>
  );
}
