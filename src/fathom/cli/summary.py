"""The table at the end of a run or an evaluation."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from fathom.cli.progress import duration, number

_PER_SEED_SHOWN = 20


def show_summary(summary: dict[str, Any], run: Path) -> None:
    """Print a run's summary and what to type next to standard output."""
    rows = [*_result_rows(summary)]
    if summary.get("steps_per_second"):
        rows.append(("speed", f"{number(summary['steps_per_second'])} steps/s over all seeds"))
    rows.append(
        (
            "time",
            f"{duration(summary['wall_seconds'])}, of which compiling {summary['compile_seconds']:.1f} s",
        )
    )
    rows.append(("run", str(run)))
    console = Console(highlight=False)
    _print_rows(console, _title(summary, f"{summary['steps']:,} steps"), rows)
    follow = [
        f"fathom watch {run} -o agent.gif",
        f"fathom plot {run} -o curve.png",
        f"fathom eval {run} --episodes 1000",
        f"fathom resume {run} --steps {summary['steps']}",
    ]
    _print_rows(console, "", [("next" if i == 0 else "", text) for i, text in enumerate(follow)])


def show_evaluation(result: dict[str, Any]) -> None:
    """Print the result of an evaluation to standard output."""
    _print_rows(
        Console(highlight=False),
        _title(result, f"{result['episodes']} episodes of each seed"),
        [*_result_rows(result)],
    )


def _result_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    per_seed = summary["returns_per_seed"]
    rows = [("return", _number(summary["mean"]))]
    if len(per_seed) > 1:
        rows = [("mean return", _number(summary["mean"])), ("IQM", _number(summary["iqm"]))]
        if summary["ci95"] is not None:
            low, high = summary["ci95"]
            rows.append(("95 % interval", f"{_number(low)} to {_number(high)}, of the mean over seeds"))
        shown = "  ".join(_number(r) for r in per_seed[:_PER_SEED_SHOWN])
        more = len(per_seed) - _PER_SEED_SHOWN
        rows.append(("each seed", shown + (f"  and {more} more" if more > 0 else "")))
    if summary.get("episodes_cut"):
        rows.append(
            ("cut", f"{summary['episodes_cut']} episodes did not end by themselves within the step limit")
        )
    return rows


def _title(summary: dict[str, Any], what: str) -> str:
    seeds = summary["seeds"]
    return (
        f"{summary['algorithm']} on {summary['env']}, {summary['backend']}: "
        f"{seeds} seed{'s' if seeds > 1 else ''}, {what}"
    )


def _number(x: float | None) -> str:
    return "–" if x is None else f"{x:.2f}".rstrip("0").rstrip(".").replace("-", "−")


def _print_rows(console: Console, title: str, rows: list[tuple[str, str]]) -> None:
    console.print()
    if title:
        console.print(Text(title, "bold"))
    for label, text in rows:
        # Nothing wraps: a command or a path broken over two lines cannot be copied.
        console.print(Text.assemble((f"{label:<15}", "dim"), text), soft_wrap=True)
