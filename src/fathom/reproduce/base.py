"""What a reproduction is: an experiment that is computed, drawn, and judged by what was published of it."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from fathom.core.errors import FathomError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1
READING_ERROR = 0.02  # a printed curve can be read to this part of its axis


@dataclass(frozen=True)
class Estimate:
    """A number of ours: a mean over independent runs with its 95 % interval, or an exact value without."""

    value: float
    interval: tuple[float, float] | None = None

    @staticmethod
    def of(samples: Float[np.ndarray, " run"]) -> "Estimate":
        """The mean over runs and Student's 95 % interval of it; no interval for a single run."""
        samples = np.asarray(samples, np.float64)
        mean, half = float(samples.mean()), float(half_width(samples))
        return Estimate(mean, (mean - half, mean + half) if samples.size > 1 else None)


def half_width(samples: Float[np.ndarray, "run ..."]) -> Float[np.ndarray, "..."]:
    """Half of Student's 95 % interval of the mean over runs, the first axis; 0 for a single run."""
    from scipy.stats import t

    runs = samples.shape[0]
    if runs < 2:
        return np.zeros(samples.shape[1:])
    return t.ppf(0.975, runs - 1) * samples.std(axis=0, ddof=1) / np.sqrt(runs)


@dataclass(frozen=True)
class Reading:
    """A published value, and how near ours must come: within 2 % of the axis it was read from.

    An exact value was read from no axis: then `tolerance` says how near. FathomError unless one of the two
    is given.
    """

    label: str  # the figure of ours it is compared with, a key of `Outcome.figures`
    value: float  # as published
    axis: float | None = None  # length of the axis it is read from, in the value's unit
    tolerance: float | None = None  # in the value's unit
    taken: str = ""  # how ours is taken from the runs

    def __post_init__(self) -> None:
        if (self.axis is None) == (self.tolerance is None):
            raise FathomError(f"the reading {self.label!r} needs either an axis or a tolerance.")

    @property
    def allowed(self) -> float:
        """The largest difference that still counts as equal."""
        return READING_ERROR * self.axis if self.axis is not None else self.tolerance or 0.0

    def met(self, ours: float) -> bool:
        """Whether `ours` is as published, to the error of reading."""
        return abs(ours - self.value) <= self.allowed


@dataclass(frozen=True)
class Outcome:
    """What an experiment gave."""

    figures: dict[str, Estimate]  # our numbers by label: those with a reading are judged, the others reported
    data: dict[str, Any] = field(default_factory=dict)  # what only the drawing needs: curves, tables


Readings = Mapping[str, Reading]


def _say_nothing(text: str) -> None:
    pass


@dataclass(frozen=True)
class Work:
    """What an experiment of hours has besides its numbers: a place for finished parts, and a voice."""

    folder: Path | None = None  # finished parts are kept in it, and read back when it is made again
    tell: Callable[[str], None] = _say_nothing  # hears of each part


@dataclass(frozen=True)
class Experiment:
    """A published figure or table, and how to make it again.

    `compute(runs, seed)` is pure: the same arguments give the same numbers. `draw(figure, outcome, readings)`
    draws as the source does, with the published values marked; `readings` are by label.

    One that has `settings` of its own is made with others by `arrange(settings, work)`; their fields are
    flags of the command line.
    """

    name: str  # on the command line and of the files, as figure-2.2
    title: str  # what it shows, a line
    source: str  # as "Sutton & Barto 2018, Figure 2.2"
    runs: int  # independent runs by default, as many as the source made where that is known
    compute: Callable[[int, int], Outcome]
    draw: Callable[["Figure", Outcome, Readings], None]
    readings: tuple[Reading, ...] = ()  # what was published of it
    size: tuple[float, float] = (8.4, 4.8)  # of the picture, inches
    notes: tuple[str, ...] = ()  # what a reader of the result must know: settings the source leaves open
    settings: Any = None  # a frozen dataclass, or None where there are none
    arrange: "Callable[[Any, Work], Experiment] | None" = None
    long: bool = False  # takes hours: `all` leaves it out


@dataclass(frozen=True)
class Report:
    """An experiment that was made, with what came out."""

    experiment: Experiment
    outcome: Outcome
    runs: int
    seed: int
    seconds: float  # of computing, compilation included

    @property
    def met(self) -> bool:
        """Whether every published value was met; true where none was published."""
        figures = self.outcome.figures
        return all(r.met(figures[r.label].value) for r in self.experiment.readings)

    def record(self) -> dict[str, Any]:
        """The report as JSON: ours against theirs, then our figures that have no counterpart."""
        from fathom.runs.provenance import versions

        experiment, figures = self.experiment, self.outcome.figures
        judged = {r.label for r in experiment.readings}
        return {
            "format": FORMAT,
            "name": experiment.name,
            "title": experiment.title,
            "source": experiment.source,
            "runs": self.runs,
            "seed": self.seed,
            **({} if experiment.settings is None else {"settings": asdict(experiment.settings)}),
            "seconds": self.seconds,
            "met": self.met,
            "readings": [
                {
                    "label": r.label,
                    "published": r.value,
                    "allowed": r.allowed,
                    "axis": r.axis,
                    "taken": r.taken,
                    "ours": figures[r.label].value,
                    "ci95": figures[r.label].interval,
                    "met": r.met(figures[r.label].value),
                }
                for r in experiment.readings
            ],
            "figures": [
                {"label": label, "ours": ours.value, "ci95": ours.interval}
                for label, ours in figures.items()
                if label not in judged
            ],
            "notes": list(experiment.notes),
            "versions": versions(),
        }

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write NAME.png and NAME.json into `folder`; FathomError where it cannot be written."""
        from matplotlib.figure import Figure

        from fathom.runs.folder import jsonable
        from fathom.runs.plot import style

        picture, record = (folder / f"{self.experiment.name}{suffix}" for suffix in (".png", ".json"))
        with style():
            figure = Figure(figsize=self.experiment.size, dpi=160, layout="constrained")
            self.experiment.draw(figure, self.outcome, {r.label: r for r in self.experiment.readings})
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _save(figure, picture)
                text = json.dumps(jsonable(self.record()), indent=1, ensure_ascii=False)
                record.write_text(text + "\n", encoding="utf-8")
            except OSError as error:
                raise FathomError(f"cannot write to {folder}: {error.strerror or error}.") from error
        return picture, record


def _save(figure: "Figure", path: Path) -> None:
    """Write a picture in 256 colors, in a third of the bytes that all would take."""
    from PIL import Image

    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def reproduce(experiment: Experiment, runs: int | None = None, seed: int = 0) -> Report:
    """Make an experiment; `runs` below the source's own widen the intervals. FathomError for less than 1."""
    runs = experiment.runs if runs is None else runs
    if runs < 1:
        raise FathomError(f"runs is {runs}; an experiment takes at least 1.")
    begin = time.perf_counter()
    outcome = experiment.compute(runs, seed)
    seconds = time.perf_counter() - begin
    missing = sorted({r.label for r in experiment.readings} - set(outcome.figures))
    if missing:
        raise FathomError(f"{experiment.name} gave no figure for {', '.join(missing)}.")
    return Report(experiment, outcome, runs, seed, seconds)
