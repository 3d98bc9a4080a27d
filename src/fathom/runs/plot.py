"""Learning curves of one or several runs, as a picture."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fathom.core.errors import FathomError, UnknownName
from fathom.runs.folder import RunFolder

_FORMATS = (".png", ".svg", ".pdf")

# Distinct in lightness as well as in hue, so that they part in grey and for colour-blind readers.
COLORS = ("#2563c9", "#d9622b", "#0f8a6c", "#a23b8f", "#8a6d1a", "#4a4f5c", "#c22f4e", "#2aa1c0")
INK, MUTED, GRID = "#1c2330", "#667085", "#e4e7ec"

_RESAMPLES = 1_000
_ROW = 96  # letters of a legend that fit beside each other

# The same runs give the same file.
_UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


class Curve(NamedTuple):
    """A learning curve of several seeds."""

    env_steps: Float[np.ndarray, " point"]
    per_seed: Float[np.ndarray, "point seed"]  # NaN where a seed finished no episode
    mean: Float[np.ndarray, " point"]
    low: Float[np.ndarray, " point"]  # 95 % interval of the mean over seeds
    high: Float[np.ndarray, " point"]


def curve(lines: Sequence[dict[str, Any]], metric: str, smoothing: float = 0.03) -> Curve:
    """The curve of a metric from the lines of a metrics.jsonl.

    Each point is the mean over the last `smoothing` (0 … 1) of the run's lines, sums over counts, so that a
    line with more episodes weighs more. Points at which no seed has a value are left out.

    Raises UnknownName for a metric that no line has, FathomError where none has a value.
    """
    if not 0 <= smoothing <= 1:
        raise FathomError(
            f"smoothing is {smoothing}; it is the part of the run to average over, from 0 to 1."
        )
    known = {name for line in lines for name in line["sums"]}
    if metric not in known:
        raise UnknownName("metric", metric, known, "" if known else "The run has no metrics yet.")
    lines = [line for line in lines if metric in line["sums"]]
    steps = np.array([line["env_steps"] for line in lines], np.float64)
    counts = np.array([line["counts"][metric] for line in lines], np.float64)
    sums = np.array([line["sums"][metric] for line in lines], np.float64)
    # A chunk that diverged must not reach its neighbours through the rolling sums.
    counts = np.where(np.isfinite(sums) & np.isfinite(counts), counts, 0.0)
    sums = np.where(counts > 0, sums, 0.0)
    window = max(1, round(smoothing * len(lines)))
    sums, counts = _rolling_sum(sums, window), _rolling_sum(counts, window)
    per_seed = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    present = np.isfinite(per_seed).any(axis=1)
    if not present.any():
        raise FathomError(f"no line has a value of {metric} yet; train on, or plot one of {sorted(known)}.")
    steps, per_seed = steps[present], per_seed[present]
    low, high = _interval(per_seed)
    return Curve(steps, per_seed, np.nanmean(per_seed, axis=1), low, high)


def plot(
    runs: Sequence[str | Path],
    out: str | Path,
    metric: str = "episode_return",
    smoothing: float = 0.03,
) -> Path:
    """Draw the learning curves of run folders to a .png, .svg or .pdf: mean and 95 % interval over seeds.

    Single seeds show as thin lines. Returns the path written; raises FathomError for folders without
    metrics, and for another kind of file.
    """
    from matplotlib.figure import Figure

    out = Path(out)
    if out.suffix.lower() not in _FORMATS:
        raise FathomError(f"cannot draw a {out.suffix or 'file without suffix'}; use {', '.join(_FORMATS)}.")
    if not runs:
        raise FathomError("nothing to plot: give one or several run folders.")
    folders = [RunFolder.open(run) for run in runs]
    curves = [_curve_of(folder, metric, smoothing) for folder in folders]
    labels = _labels(folders)

    with style():
        figure = Figure(figsize=(8.4, 4.8), dpi=160, layout="constrained")
        axes = figure.add_subplot()
        for one, label, color in zip(curves, labels, itertools.cycle(COLORS), strict=False):
            _draw(axes, one, label, color)
        _dress(axes, figure, folders, curves, metric)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(out, metadata=_UNDATED.get(out.suffix.lower()))
        except OSError as error:
            raise FathomError(f"cannot write {out}: {error.strerror or error}.") from error
    return out


def _curve_of(folder: RunFolder, metric: str, smoothing: float) -> Curve:
    try:
        return curve(folder.read_metrics(), metric, smoothing)
    except FathomError as error:
        raise FathomError(f"{folder.path}: {error}") from error


def _rolling_sum(values: np.ndarray, window: int) -> np.ndarray:
    """Sums over the last `window` rows (fewer at the start)."""
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    end = np.arange(1, len(values) + 1)
    return total[end] - total[np.maximum(end - window, 0)]


def _interval(per_seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % percentile-bootstrap interval of the mean over seeds, at each point."""
    seeds = per_seed.shape[1]
    drawn = np.random.default_rng(0).integers(seeds, size=(_RESAMPLES, seeds))
    weights = np.stack([np.bincount(row, minlength=seeds) for row in drawn]).astype(np.float64)
    present = np.isfinite(per_seed)
    sums = np.where(present, per_seed, 0.0) @ weights.T
    counts = present.astype(np.float64) @ weights.T
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    low, high = np.nanpercentile(means, [2.5, 97.5], axis=1)
    return low, high


def _labels(folders: list[RunFolder]) -> list[str]:
    """What tells the runs apart: algorithm, environment, or else the folders' names."""
    algorithms = [_name(f.run.get("algorithm"), "name").replace("_", "-").upper() for f in folders]
    envs = [_name(f.run.get("env"), "id") for f in folders]
    several_envs = len(set(envs)) > 1
    labels = [f"{a} on {e}" if several_envs else a for a, e in zip(algorithms, envs, strict=True)]
    if len(set(labels)) == len(labels):
        return labels
    return [f"{label} ({f.path.resolve().name})" for label, f in zip(labels, folders, strict=True)]


def _name(value: Any, key: str) -> str:
    return str(value.get(key, "?") if isinstance(value, dict) else value)


def _draw(axes: Any, one: Curve, label: str, color: str) -> None:
    seeds = one.per_seed.shape[1]
    if seeds > 1:
        axes.plot(one.env_steps, one.per_seed, color=color, lw=0.6, alpha=0.22, zorder=2)
        axes.fill_between(one.env_steps, one.low, one.high, color=color, alpha=0.18, lw=0, zorder=3)
        label = f"{label}, {seeds} seeds"
    axes.plot(one.env_steps, one.mean, color=color, lw=2.1, label=label, zorder=4, solid_capstyle="round")


def _dress(axes: Any, figure: Any, folders: list[RunFolder], curves: list[Curve], metric: str) -> None:
    from matplotlib.ticker import FuncFormatter

    name = metric.replace("_", " ")
    envs = sorted({_name(f.run.get("env"), "id") for f in folders})
    title = f"{name} on {envs[0]}" if len(envs) == 1 else name
    labels = axes.get_legend_handles_labels()[1]
    beside = 1.4 * len(title) + sum(len(label) + 6 for label in labels) < _ROW
    columns = len(labels) if beside else max(1, min(len(labels), _ROW // (6 + max(map(len, labels)))))
    rows = math.ceil(len(labels) / columns)
    axes.set_title(title[:1].upper() + title[1:], loc="left", pad=12 if beside else 14 + 17 * rows)
    # Outside the axes no curve can hide it.
    side, x = ("right", 1.0) if beside else ("left", 0.0)
    axes.legend(loc=f"lower {side}", bbox_to_anchor=(x, 1.0), ncols=columns, borderaxespad=0.4)
    axes.set_xlabel("environment steps per seed")
    axes.set_ylabel(name)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _short(x)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _short(y)))
    axes.margins(x=0.0)
    axes.set_xlim(left=0)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    if any(c.per_seed.shape[1] > 1 for c in curves):
        figure.text(
            0.995,
            0.004,
            "line: mean · band: 95 % interval of the mean · thin: single seeds",
            ha="right",
            va="bottom",
            size=7.5,
            color=MUTED,
        )
        figure.get_layout_engine().set(rect=(0, 0.03, 1, 0.97))
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)


def _short(x: float) -> str:
    """A number as on an axis: 0, 2.5k, 100k, 1M."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:.6g}{suffix}".replace("-", "−")
    return f"{x:.4g}".replace("-", "−")


def style() -> Any:
    """Fixed, whatever the user's matplotlibrc says; text in an SVG stays text."""
    import matplotlib

    return matplotlib.rc_context(
        {
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 10,
            "text.color": INK,
            "axes.labelcolor": MUTED,
            "axes.titlesize": 13,
            "axes.titleweight": "bold",
            "axes.titlecolor": INK,
            "axes.edgecolor": GRID,
            "axes.linewidth": 1.0,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "xtick.color": GRID,
            "ytick.color": GRID,
            "xtick.labelcolor": MUTED,
            "ytick.labelcolor": MUTED,
            "ytick.major.size": 0,
            "grid.color": GRID,
            "grid.linewidth": 1.0,
            "legend.frameon": False,
            "legend.fontsize": 9.5,
            "figure.facecolor": "white",
            "axes.facecolor": "white",
            "savefig.facecolor": "white",
            "svg.fonttype": "none",
            "svg.hashsalt": "fathom",
            "path.simplify_threshold": 0.5,
        }
    )
