"""Curves over runs: their means with intervals, and how several are drawn."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fathom.reproduce import drawing
from fathom.reproduce.base import Estimate, half_width


class Curve(NamedTuple):
    """A mean over runs against time or a parameter, with half its 95 % interval."""

    x: Float[np.ndarray, " point"]
    mean: Float[np.ndarray, " point"]  # not finite where a run diverged
    half: Float[np.ndarray, " point"]  # 0 for a single run

    @staticmethod
    def of(x: Sequence[float] | np.ndarray, samples: Float[np.ndarray, "run point"]) -> "Curve":
        """The mean over runs at each point, with Student's interval."""
        samples = np.asarray(samples, np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            return Curve(np.asarray(x, np.float64), samples.mean(axis=0), half_width(samples))

    def at(self, point: int) -> Estimate:
        """The mean at a point, as a figure to report."""
        value, half = float(self.mean[point]), float(self.half[point])
        return Estimate(value, (value - half, value + half) if half else None)

    @property
    def lowest(self) -> int:
        """The point of the lowest mean; where a run diverged there is none."""
        return int(np.argmin(np.where(np.isfinite(self.mean), self.mean, np.inf)))


def lines(
    axes: Any,
    curves: Mapping[str, Curve],
    colors: Mapping[str, str],
    ylim: tuple[float, float],
    **style: Any,
) -> None:
    """Each curve with its band and label, on an axis of these limits.

    What diverged is left out, and what is far above the axis brought nearer: its line still leaves the panel.
    """
    low, high = ylim
    axes.set_ylim(low, high)
    for label, one in curves.items():
        known = np.isfinite(one.mean)
        mean = np.minimum(one.mean[known], high + 5.0 * (high - low))
        half = np.where(mean == one.mean[known], one.half[known], 0.0)
        drawing.curve(axes, one.x[known], mean, label, colors[label], half, **style)


def colors_of(labels: Iterable[str]) -> dict[str, str]:
    """A color for each label, in their order; from the ninth on they come again."""
    return {label: drawing.COLORS[i % len(drawing.COLORS)] for i, label in enumerate(labels)}


def shades_of(labels: Iterable[str]) -> dict[str, str]:
    """Colors from dark to light for labels that are the values of one number, in its order."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    known = list(labels)
    places = np.linspace(0.0, 0.88, len(known))
    return {label: to_hex(colormaps["viridis"](x)) for label, x in zip(known, places, strict=True)}


def legend_beside(axes: Any) -> None:
    """The legend to the right of the axes, where curves leave no room within."""
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def note(figure: Any, runs: int, marks: bool = False, more: str = "") -> None:
    """The line below a picture that says what band and diamonds are, and what `more` there is to say."""
    parts = [f"mean of {runs:,} runs", "band: 95 % interval of the mean"]
    parts += ["diamond: published, with its error of reading"] * marks + [more] * bool(more)
    drawing.footnote(figure, " · ".join(parts))
