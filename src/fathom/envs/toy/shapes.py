"""Pictures and lines of text that the toy environments share."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fathom.envs.classic.shapes import segment
from fathom.envs.scene import Circle, Line, Polygon, Scene, Text

_LETTERS_FIT = 14  # states in a row up to which a letter fits into a circle
_OFF_STAGE = -100.0  # where shapes wait that are not to be seen: structure is fixed, only places change


def rectangle(left: Any, bottom: Any, right: Any, top: Any) -> Float[Array, "4 2"]:
    """The corners of a rectangle."""
    return segment((left, bottom), (right, bottom), (right, top), (left, top))


def block(left: float, bottom: float, right: float, top: float) -> Float[np.ndarray, "4 2"]:
    """The corners of a rectangle that never moves."""
    return np.array([[left, bottom], [right, bottom], [right, top], [left, top]], np.float32)


def point(x: Any, y: Any) -> Float[Array, "2"]:
    """A place in world coordinates."""
    return jnp.stack([jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)])


def shown(points: Any, where: Any) -> Array:
    """The points where `where` is true, far outside of any picture elsewhere."""
    at: Array = jnp.asarray(points, jnp.float32)
    return jnp.where(jnp.asarray(where), at, jnp.full_like(at, _OFF_STAGE))


def chain(names: Sequence[str], at: Int[Array, ""], ends: Sequence[int] = ()) -> Scene:
    """States in a row, those in which episodes end as squares, the one numbered `at` in the accent colour."""
    here = at.astype(jnp.float32)
    shapes: list[Any] = [Line(np.array([[0, 0], [len(names) - 1, 0]], np.float32), 0.05, "ground")]
    for x in range(len(names)):
        place = np.array([x, 0], np.float32)
        if x in ends:
            shapes.append(Polygon(block(x - 0.3, -0.3, x + 0.3, 0.3), "ground"))
        else:
            shapes.append(Circle(place, 0.36, "ground"))
    shapes.append(Circle(point(here, 0.0), 0.36, "accent"))
    # Letters have one size in all pictures: where circles are small, they stand above.
    above = 0.9 if len(names) > _LETTERS_FIT else 0.0
    shapes += [Text(np.array([x, above], np.float32), name, color="body") for x, name in enumerate(names)]
    half = max(len(names), 7) / 2
    middle = (len(names) - 1) / 2
    return Scene(tuple(shapes), (middle - half, middle + half, -1.0, 1.0 + above))


def chain_text(names: Sequence[str], at: int) -> str:
    """States in a row, the one numbered `at` in brackets, those without a name as #."""
    return "".join(f"[{name or '#'}]" if i == at else f" {name or '#'} " for i, name in enumerate(names))


def ruler(last: int, at: Int[Array, ""], marks: Sequence[int] = ()) -> Scene:
    """A scale from 0 to `last`, too long to draw each number, with a marker and its number at `at`."""
    x = at.astype(jnp.float32) / last
    scale = np.array([[0, 0], [1, 0]], np.float32)
    shapes: list[Any] = [Line(scale, 0.012, "ground")]
    for mark in (0, *marks, last):
        place = mark / last
        shapes.append(Line(np.array([[place, -0.02], [place, 0.02]], np.float32), 0.006, "muted"))
        shapes.append(Text(np.array([place, -0.07], np.float32), str(mark)))
    shapes.append(Circle(point(x, 0.0), 0.022, "accent"))
    shapes.append(Text(point(x, 0.07), value=at, color="body"))
    return Scene(tuple(shapes), (-0.08, 1.08, -0.14, 0.14))


def ruler_text(last: int, at: int, width: int = 60) -> str:
    """A scale from 0 to `last` with `at` marked on it, and told."""
    place = round(at / last * (width - 1))
    line = "".join("o" if i == place else "-" for i in range(width))
    return f"0 {line} {last}   at {at}"
