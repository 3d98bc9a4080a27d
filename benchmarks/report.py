"""Writes `docs/benchmarks.md` from the newest raw figures of each group of speed.py and row of learning.py.

python benchmarks/report.py
"""

import argparse
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from learning import ROWS
from speed import GROUPS, HERE, format_number, format_target

INTRODUCTION = """\
# Benchmarks

<!-- Written by benchmarks/report.py from benchmarks/results/; not to be edited by hand. -->

Take the ratios, not the absolute figures: Fathom and its peers ran alternately, in one sitting on one
machine, each run in a process of its own, PyTorch with the faster of one thread and a thread per core.
Figures are medians of the repeats. Raw figures of every run are in `benchmarks/results/`.

To repeat, on a quiet machine:

```
python benchmarks/speed.py --setup --venvs .venvs   # the peers, once
python benchmarks/speed.py --venvs .venvs
python benchmarks/learning.py
python benchmarks/tabular_learning.py
python benchmarks/mdp.py
python benchmarks/bandits.py
python benchmarks/report.py
```

Each row and group is from its newest measurement: figures of different dates are of different sittings.
"""
VERDICTS = {True: "yes", False: "**no**", None: ""}


def records(results: Path, kind: str) -> Iterator[dict[str, Any]]:
    """The raw files of a kind, oldest first."""
    loaded = [json.loads(path.read_text()) for path in results.glob(f"{kind}-*.json")]
    yield from sorted(loaded, key=lambda record: record["date"])


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def provenance(record: Mapping[str, Any]) -> str:
    """When and on what a record was measured."""
    m = record["machine"]
    return f"{record['date'][:10]}, {m['cpu']}, {m['cores']} cores, {m['system']}, Python {m['python']}"


def spread(values: list[float]) -> str:
    """A median with the least and the greatest value."""
    if not values:
        return "–"
    low, high = format_number(min(values)), format_number(max(values))
    return f"{format_number(statistics.median(values))} ({low} to {high})"


def speed_section(group: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """What a group measured: its ratios beside their targets, then each program's own figures."""
    keys = {"steps_per_second": "steps/s", "seconds": "seconds", "compile_seconds": "compile seconds"}
    keys |= {"peak_rss_mb": "peak memory, MB"}
    rows: list[list[str]] = []
    versions: dict[str, str] = {}
    for title in group["medians"]:
        runs = [r for r in group["runs"] if r["subject"] == title and "error" not in r]
        columns = ([r[key] for r in runs if r.get(key) is not None] for key in keys)
        rows.append([title, *(spread(values) for values in columns)])
        for r in runs:
            versions |= r["versions"]
    ratios = [
        [f["label"], format_number(f["value"]), format_target(f), VERDICTS[f["met"]]]
        for f in group["figures"]
    ]
    shown = ", ".join(f"{name} {number}" for name, number in versions.items() if name != "python")
    scaled = "" if record["scale"] == 1 else f" Steps scaled by {record['scale']:g}."
    return "\n".join(
        [
            group["about"],
            "",
            table(["figure", "value", "target", "met"], ratios),
            table(["program", *keys.values()], rows),
            *curves(group["runs"]),
            f"Median (least to greatest) of {record['repeats']}. {provenance(record)}; {shown}.{scaled}\n",
        ]
    )


def curves(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Where programs were judged on the way: the mean return over seeds at each number of steps."""
    told = [r for r in runs if "returns" in r]
    longest = max((r["at_steps"] for r in told), key=len, default=[])
    rows = [
        [f"{r['subject']}, {len(r['returns'])} seeds"]
        + [f"{statistics.fmean(at):,.0f}" for at in zip(*r["returns"], strict=True)]
        + [""] * (len(longest) - len(r["at_steps"]))
        for r in told
    ]
    return [table(["mean return after", *(f"{n:,} steps" for n in longest)], rows)] if told else []


def learning_section(rows: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """Every row of learning.py with its interval over seeds, its target, and what others have published."""
    lines: list[list[str]] = []
    for row, record in rows.values():
        summary = row["summary"]
        interval = summary.get("ci95")
        digits = 1 if row["mean"] is None or abs(row["mean"]) >= 10 else 3
        lines.append(
            [
                row.get("preset") or f"{row['algorithm'].upper()}, {row['env']}",
                f"{row['steps']:,}",
                str(row["seeds"]),
                "failed" if row["mean"] is None else f"{row['mean']:.{digits}f}",
                "–" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}",
                "–" if row["mean"] is None else f"{min(summary['returns_per_seed']):.{digits}f}",
                "" if row["target"] is None else f"≥ {row['target']:g}",
                VERDICTS[row["met"]],
                f"{row['published']} ({row['source']})" if row["published"] else "none at hand",
                record["date"][:10],
            ]
        )
    header = ["preset", "steps", "seeds", "mean return", "95 % interval", "worst seed", "target", "met"]
    return "\n".join(
        [
            "## Learning\n",
            "`fathom train` with the automatic preset, or the one named. A seed's return is the mean raw "
            "return of its greedy policy over at least 100 episodes; the interval is of the mean over seeds. "
            "What others published is often one tuned run.\n",
            table([*header, "published", "date"], lines),
        ]
    )


def tabular_section(rows: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """Every row of tabular_learning.py: exact returns of greedy policies."""
    lines: list[list[str]] = []
    for row, record in rows.values():
        seeds = row["returns_per_seed"]
        within = f"{row['low']:g} to {row['high']:g}"
        lines.append(
            [
                f"{row['algorithm']}, {row['env']}",
                f"{row['steps']:,}",
                f"{len(seeds)} from {row['seed']}",
                f"{row['mean']:.4f}",
                f"{min(seeds):.4f}",
                within if row["low"] != row["high"] else f"{row['low']:g}",
                VERDICTS[row["met"]],
                row["best"],
                record["date"][:10],
            ]
        )
    header = ["preset", "steps", "seeds", "mean return", "worst seed", "target", "met", "optimum", "date"]
    return "\n".join(
        [
            "## Tables\n",
            "The return of each seed's greedy policy, computed from the dynamics and not sampled.\n",
            table(header, lines),
        ]
    )


def exact_section(record: Mapping[str, Any]) -> str:
    """What mdp.py measured: a sweep and a whole solution, each beside NumPy's."""
    sweeps, solutions = [], []
    for grid, measured in record["grids"].items():
        numpy = statistics.median(measured["sweep_seconds"]["NumPy"])
        for name, seconds in measured["sweep_seconds"].items():
            middle = statistics.median(seconds)
            own = name == "Fathom"
            ratio = numpy / middle
            goal = [">= 4", VERDICTS[ratio >= 4.0]] if own else ["", ""]
            sweeps.append([grid, name, f"{1e3 * middle:.2f}", f"{ratio:.2f}", *goal])
        base = statistics.median(measured["solutions"]["NumPy value iteration"]["seconds"])
        best = min(statistics.median(s["seconds"]) for s in measured["solutions"].values())
        for name, solved in measured["solutions"].items():
            middle = statistics.median(solved["seconds"])
            ratio = base / middle
            goal = [">= 15", VERDICTS[ratio >= 15.0]] if middle == best else ["", ""]
            row = [grid, name, f"{middle:.2f}", f"{ratio:.1f}", *goal]
            solutions.append([*row, f"{solved['error']:.1e}", f"{solved['peak_mb']:.0f}"])
    side = record["side"]
    return "\n".join(
        [
            "## Exact solution\n",
            f"A {side} × {side} slippery grid, {side * side:,} states, γ = 0.99, to 1e-6; CPU seconds of one "
            f"thread. {provenance(record)}.\n",
            table(["rewards", "one sweep", "ms", "NumPy over it", "target", "met"], sweeps),
            table(
                ["rewards", "solver", "seconds", "sooner by", "target", "met", "error", "peak MB"], solutions
            ),
        ]
    )


def bandits_section(record: Mapping[str, Any]) -> str:
    """What bandits.py measured: the 10-armed testbed, with and without compiling."""
    work, medians = record["work"], record["medians"]
    rows = [
        [side, *(f"{medians[side][key]:.2f}" for key in ("first_seconds", "second_seconds", "second_cpu"))]
        for side in ("numpy", "fathom")
    ]
    ratios = record["ratios"]
    rows.append(["ratio", *(f"{ratios[k]:.2f}" for k in ("first_seconds", "second_seconds", "second_cpu"))])
    met = VERDICTS[ratios["first_seconds"] >= 4.0]
    return "\n".join(
        [
            "## The 10-armed testbed\n",
            f"{work['runs']:,} runs × {work['steps']:,} steps × {len(work['methods'])} methods, in seconds. "
            f"Target: 4 times NumPy's speed with compiling; met: {met}. {record['date'][:10]}.\n",
            table(["", "with compiling", "warm", "warm, CPU of all threads"], rows),
        ]
    )


def hub_section(found: Mapping[str, tuple[float, dict[str, Any]]]) -> str:
    """What hub.py measured of the live page, each figure as it was measured last."""
    rows = []
    for name, (value, record) in found.items():
        limit, below = record["aims"].get(name, (None, True))
        met = None if limit is None else (value <= limit if below else value >= limit)
        aim = "" if limit is None else f"{'≤' if below else '≥'} {limit:g}"
        rows.append([name, f"{value:,.2f}", aim, VERDICTS[met], record["date"][:10]])
    return "\n".join(
        [
            "## The live page\n",
            "Ten seeds of Q-learning on a 5 × 5 grid at 2,000 steps a second each; server, trainer and "
            "browser (Chromium, drawing without a GPU) share the machine. Growth is what came after the "
            "first minutes, in which snapshots of the past fill their room.\n",
            table(["figure", "value", "target", "met", "date"], rows),
        ]
    )


def episodes_section(rows: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """What episodes.py measured: DQN on CartPole by episodes, for the preset tuned to it and tutorials'."""
    lines = [
        [
            row["preset"],
            str(episodes),
            f"{statistics.fmean(returns):.0f}",
            f"{min(returns):.0f}",
            f"{solved} of {row['seeds']}",
            f"{statistics.median(steps):,.0f}",
            record["date"][:10],
        ]
        for row, record in rows.values()
        for episodes, returns, solved, steps in zip(
            row["after"], row["returns"], row["solved"], row["steps"], strict=True
        )
    ]
    header = ["preset", "episodes", "mean return", "worst seed", "seeds at 475", "steps, median", "date"]
    return "\n".join(
        [
            "## CartPole in 300 episodes?\n",
            "DQN judged after so many episodes of training, exploration included: the greedy policy over 100 "
            "episodes, each seed by itself.\n",
            table(header, lines),
        ]
    )


def report(results: Path) -> str:
    """The whole page."""
    newest = {
        name: (group, record)
        for record in records(results, "speed")
        for name, group in record["groups"].items()
    }
    asked = {row.name for row in ROWS}  # of a row that was dropped the settings are others by now
    learned = {
        row["name"]: (row, record)
        for record in records(results, "learning")
        for row in record["rows"]
        if row["name"] in asked
    }
    tables = {
        f"{row['algorithm']}/{row['env']}": (row, record)
        for record in records(results, "tabular-learning")
        for row in record["rows"]
    }
    parts = [INTRODUCTION, "## Speed\n"]
    for name in (name for name in GROUPS if name in newest):
        parts += [f"### {name}\n", speed_section(*newest[name])]
    if learned:
        parts.append(learning_section(learned))
    if tables:
        parts.append(tabular_section(tables))
    counted = {
        row["preset"]: (row, record) for record in records(results, "episodes") for row in record["rows"]
    }
    if counted:
        parts.append(episodes_section(counted))
    live = {
        name: (value, record)
        for record in records(results, "hub")
        for name, value in record["figures"].items()
    }
    if live:
        parts.append(hub_section(live))
    for kind, section in (("mdp", exact_section), ("bandits", bandits_section)):
        *_, newest_record = [None, *records(results, kind)]
        if newest_record is not None:
            parts.append(section(newest_record))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the raw figures")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "benchmarks.md")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(report(options.results))
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
