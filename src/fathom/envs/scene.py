"""Shapes to draw: what `Env.view` returns and the page, the GIF and the PNG are drawn from.

Structure (kinds, colours, widths, extent) is static; coordinates are arrays, so that a live view need send
only the numbers that change.
"""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Int


class Polygon(eqx.Module):
    """A filled polygon."""

    points: Float[Any, "corner 2"]
    color: str = eqx.field(static=True, default="body")


class Circle(eqx.Module):
    """A filled disc."""

    center: Float[Any, "2"]
    radius: Float[Any, ""] | float
    color: str = eqx.field(static=True, default="accent")


class Line(eqx.Module):
    """An open line through points, as wide as `width` world units."""

    points: Float[Any, "point 2"]
    width: float = eqx.field(static=True, default=0.03)
    color: str = eqx.field(static=True, default="muted")


class Tiles(eqx.Module):
    """A grid of squares or discs in unit cells; row 0 is on top, the lowest row stands on y = 0.

    The cell at [row, col] has the colour `roles[kinds[row, col]]`; where that is "" nothing is drawn.
    """

    kinds: Int[Any, "row col"]
    roles: tuple[str, ...] = eqx.field(static=True)
    size: float = eqx.field(static=True, default=0.94)  # side or diameter
    round: bool = eqx.field(static=True, default=False)


class Text(eqx.Module):
    """A short static label or a number."""

    at: Float[Any, "2"]
    text: str = eqx.field(static=True, default="")
    value: Array | None = None
    color: str = eqx.field(static=True, default="muted")
    size: float | None = eqx.field(static=True, default=None)  # height in world units; else of the picture


class Scene(eqx.Module):
    """Shapes in painting order, in world coordinates with y upwards.

    Colours are roles, not values, so that light and dark themes can differ: background, ground, body,
    accent, goal, danger, muted, and value0, …, value8 for quantities from low to high.
    """

    shapes: tuple[Any, ...]
    extent: tuple[float, float, float, float] = eqx.field(static=True)  # left, right, bottom, top
