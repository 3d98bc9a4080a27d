"""What the pictures of reproductions have in common: curves with their intervals, published values marked."""

from typing import Any

import numpy as np
from jaxtyping import Float

from fathom.reproduce.base import Reading
from fathom.runs.plot import COLORS, INK, MUTED

__all__ = ["COLORS", "INK", "MUTED", "curve", "footnote", "mark", "panel"]


def panel(figure: Any, place: Any, title: str, xlabel: str, ylabel: str) -> Any:
    """New axes at `place`, a subplot's position as `add_subplot` takes it (111, or a grid's cell)."""
    axes = figure.add_subplot(place)
    axes.set_title(title, loc="left", pad=10)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    return axes


def curve(
    axes: Any,
    x: Float[np.ndarray, " point"],
    y: Float[np.ndarray, " point"],
    label: str,
    color: str,
    half: Float[np.ndarray, " point"] | None = None,
    **style: Any,
) -> None:
    """A mean over runs, with ± `half` about it (half a 95 % interval) as a band."""
    if half is not None:
        axes.fill_between(x, y - half, y + half, color=color, alpha=0.2, lw=0, zorder=3)
    axes.plot(x, y, color=color, label=label, **{"lw": 1.4, "zorder": 4, **style})


def mark(axes: Any, x: float, reading: Reading, color: str) -> None:
    """A published value at `x`: a white diamond, the error of reading as its bar."""
    axes.errorbar(
        x,
        reading.value,
        yerr=reading.allowed,
        fmt="D",
        ms=6,
        mfc="white",
        mec=color,
        mew=1.6,
        ecolor=color,
        elinewidth=1.6,
        capsize=3,
        zorder=6,
        clip_on=False,
    )


def footnote(figure: Any, text: str) -> None:
    """A line of explanation below all panels."""
    figure.text(0.995, 0.004, text, ha="right", va="bottom", size=7.5, color=MUTED)
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.set(rect=(0, 0.035, 1, 0.965), w_pad=0.12, h_pad=0.12)
