"""Curves over runs: their means with intervals, and how several are drawn."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fathom.reproduce import drawing


class Curve(NamedTuple):
    """A mean over runs, with half its 95 % interval."""

    x: Float[np.ndarray, " point"]
    mean: Float[np.ndarray, " point"]
    half: Float[np.ndarray, " point"]

    @staticmethod
    def of(x: Float[np.ndarray, " point"], samples: Float[np.ndarray, "run point"]) -> "Curve":
        """The mean over runs by the normal approximation, which serves for a band; no width for one run."""
        runs = samples.shape[0]
        spread = samples.std(axis=0, ddof=1) if runs > 1 else np.zeros(samples.shape[1])
        return Curve(x, samples.mean(axis=0), 1.96 * spread / np.sqrt(runs))


def lines(axes: Any, curves: Mapping[str, Curve], colors: Mapping[str, str], **style: Any) -> None:
    """Each curve with its band and label."""
    for label, one in curves.items():
        drawing.curve(axes, one.x, one.mean, label, colors[label], one.half, **style)


def colors_of(labels: Mapping[str, Any]) -> dict[str, str]:
    """A color for each label, in their order; from the ninth on they come again."""
    return {label: drawing.COLORS[i % len(drawing.COLORS)] for i, label in enumerate(labels)}


def note(figure: Any, runs: int, marks: bool = False) -> None:
    """The line below a picture that says what band and diamonds are."""
    diamond = " · diamond: published, with its error of reading" if marks else ""
    drawing.footnote(figure, f"mean of {runs:,} runs · band: 95 % interval of the mean{diamond}")
