"""What a run shows on standard error while it trains: a live display on a terminal, plain lines elsewhere."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import numpy as np

from fathom.train.report import Listener, Report

_RETURN = "episode_return"
_CHUNKS_KEPT = 50
_EPISODES = 10  # of each seed, at least, over which the return is averaged, where so many are known
_LOSSES_SHOWN = 3
_SECONDS_BETWEEN_LINES = 5.0
_BETWEEN_REFRESHES = 8  # per second
# What is most telling first; others follow in their own order.
_LOSSES = ("policy_loss", "actor_loss", "value_loss", "critic_loss", "td_loss", "loss", "q_value", "entropy")
_PHASES = {
    "compile": "compiling",
    "train": "training",
    "evaluate": "evaluating",
    "save": "saving",
    "done": "done",
}


class Tally:
    """What both displays tell of a run, from its reports."""

    def __init__(self) -> None:
        self.phase, self.detail = "starting", ""
        self.since = time.monotonic()
        self.report: Report | None = None
        self.rate = math.nan  # environment steps of all seeds per second, smoothed
        self._recent: list[tuple[np.ndarray, np.ndarray]] = []

    def begin(self, name: str, detail: str) -> None:
        """A phase begins."""
        self.phase, self.detail, self.since = name, detail, time.monotonic()

    def add(self, report: Report) -> None:
        """A chunk is over."""
        self.report = report
        if report.chunk_seconds > 0:
            now = report.chunk_steps / report.chunk_seconds
            self.rate = now if math.isnan(self.rate) else 0.8 * self.rate + 0.2 * now
        if _RETURN in report.sums:
            self._recent.append((np.asarray(report.sums[_RETURN]), np.asarray(report.counts[_RETURN])))
            del self._recent[:-_CHUNKS_KEPT]

    @property
    def part(self) -> float:
        """How much of the run is behind, in [0, 1]."""
        if self.report is None or self.report.horizon_steps <= 0:
            return 0.0
        return min(self.report.env_steps / self.report.horizon_steps, 1.0)

    @property
    def seconds_left(self) -> float:
        """Of training, at the present rate; NaN while unknown."""
        if self.report is None:
            return math.nan
        left = (self.report.horizon_steps - self.report.env_steps) * self.report.seeds
        return left / self.rate if self.rate > 0 else math.nan

    def returns(self) -> np.ndarray:
        """Recent mean return of each seed, of those that have finished an episode."""
        if not self._recent:
            return np.zeros(0)
        sums, counts = (np.zeros_like(x, np.float64) for x in self._recent[-1])
        for chunk_sums, chunk_counts in reversed(self._recent):
            # Short early episodes are many: averaged with them, the return would lag far behind.
            if counts.min() >= _EPISODES:
                break
            sums, counts = sums + chunk_sums, counts + chunk_counts
        return np.asarray(sums[counts > 0] / counts[counts > 0])

    def return_text(self) -> str:
        """The recent return and its spread over seeds, or an empty text."""
        values = self.returns()
        if values.size == 0:
            return ""
        text = number(float(values.mean()))
        if values.size == 1:
            return text
        return f"{text} [{number(float(values.min()))} to {number(float(values.max()))}]"

    def losses(self) -> list[tuple[str, float]]:
        """A few other metrics of the last chunk, averaged over seeds."""
        if self.report is None:
            return []
        names = [n for n in _LOSSES if n in self.report.sums]
        names += [n for n in self.report.sums if n.endswith("loss") and n not in names]
        found = []
        for name in names[:_LOSSES_SHOWN]:
            values = self.report.mean(name)
            if np.isfinite(values).any():
                found.append((name.replace("_", " "), float(np.nanmean(values))))
        return found


class PlainProgress:
    """Lines of text, at most one every few seconds; for files, pipes and CI."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out if out is not None else sys.stderr
        self._tally = Tally()
        self._last = -math.inf

    def phase(self, name: str, detail: str = "") -> None:
        """Tell of a phase that begins."""
        self._tally.begin(name, detail)
        if name not in ("train", "done"):
            self._say(f"{_PHASES.get(name, name)}{f' {detail}' if detail else ''} ...")

    def chunk(self, report: Report) -> None:
        """Tell of progress, unless a line was written just now; the end is always told."""
        self._tally.add(report)
        over = report.env_steps >= report.horizon_steps
        if not over and time.monotonic() - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = time.monotonic()
        tally = self._tally
        parts = [f"{tally.part:4.0%}", f"{report.env_steps:,} steps"]
        if text := tally.return_text():
            parts.append(f"return {text}")
        if math.isfinite(tally.rate):
            parts.append(f"{number(tally.rate)} steps/s")
        if not over and math.isfinite(tally.seconds_left):
            parts.append(f"{duration(tally.seconds_left)} left")
        self._say("  ".join(parts))

    def _say(self, text: str) -> None:
        print(text, file=self._out, flush=True)


class LiveProgress:
    """A display that is redrawn in place; show it by `with progress.shown():`."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._tally = Tally()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the display until the block ends; its last state stays on the screen."""
        from rich.live import Live

        with Live(
            get_renderable=self.render,
            console=self._console,
            refresh_per_second=_BETWEEN_REFRESHES,
            redirect_stdout=False,
        ):
            yield

    def phase(self, name: str, detail: str = "") -> None:
        """Show a phase that begins."""
        self._tally.begin(name, detail)

    def chunk(self, report: Report) -> None:
        """Show a chunk's figures."""
        self._tally.add(report)

    def render(self) -> Any:
        """The display as it is now."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        tally = self._tally
        waited = time.monotonic() - tally.since
        name = _PHASES.get(tally.phase, tally.phase)
        head = Table.grid(padding=(0, 2))
        if tally.phase == "done":
            head.add_row(Text("✓", "green"), Text(name, "bold"), Text(tally.detail, "dim"))
        elif tally.phase == "train":
            head.add_column(min_width=10)
            head.add_row(
                Text(name, "bold"),
                ProgressBar(total=1.0, completed=tally.part, width=32),
                Text(f"{tally.part:.0%}", "bold"),
                Text(f"{duration(tally.seconds_left)} left" if tally.report else "", "dim"),
                Text(f"{number(tally.rate)} steps/s" if math.isfinite(tally.rate) else "", "cyan"),
            )
        else:
            text = Text(f"{name} {tally.detail}".strip(), "bold")
            head.add_row(Spinner("dots", style="cyan"), text, Text(f"{waited:.1f} s", "dim"))
        if tally.report is None:
            return head
        body = Table.grid(padding=(0, 2))
        body.add_column(min_width=10, style="dim")
        if text := tally.return_text():
            spread = f"  over {tally.report.seeds} seeds" if tally.report.seeds > 1 else ""
            body.add_row("return", Text.assemble((text, "bold"), (spread, "dim")))
        if losses := tally.losses():
            body.add_row("learning", " · ".join(f"{name} {number(value)}" for name, value in losses))
        return Group(head, body)


@contextmanager
def showing(quiet: bool) -> Iterator[list[Listener]]:
    """The listeners that show progress on standard error: none if quiet, live on a terminal, else lines."""
    if quiet:
        yield []
    elif sys.stderr.isatty():
        live = LiveProgress()
        with live.shown():
            yield [live]
    else:
        yield [PlainProgress()]


def number(x: float) -> str:
    """A number for people: 1,204,000 steps, 231.4, 0.0132."""
    if not math.isfinite(x):
        return "–"
    if abs(x) >= 1_000:
        return f"{x:,.0f}".replace("-", "−")
    if abs(x) >= 100:
        return f"{x:.1f}".replace("-", "−")
    return f"{x:.3g}".replace("-", "−")


def duration(seconds: float) -> str:
    """A time for people: 7 s, 3 min 20 s, 2 h 05 min."""
    if not math.isfinite(seconds):
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60:02} min"
