"""Outlines that the pictures of the classic environments share."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def rounded_box(width: float, height: float, radius: float) -> Float[np.ndarray, "corner 2"]:
    """The outline of a rectangle around the origin, its corners rounded."""
    turn = np.linspace(0.0, np.pi / 2, 7)
    quarter = radius * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    corners = []
    for quadrant, (right, up) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)]):
        angle = quadrant * np.pi / 2
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        inner = np.array([right * (width / 2 - radius), up * (height / 2 - radius)])
        corners.append(quarter @ rotation + inner)
    return np.concatenate(corners).astype(np.float32)


def place(points: Any, at: Any, angle: Any = 0.0) -> Float[Array, "corner 2"]:
    """Turn points [corner, 2] by `angle` (radians, anticlockwise) about the origin, then move it to `at`."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = points[:, 0], points[:, 1]
    return jnp.stack([x * cos - y * sin + at[0], x * sin + y * cos + at[1]], axis=-1)


def segment(*ends: tuple[Any, Any]) -> Float[Array, "point 2"]:
    """The points of a line through the given places."""
    return jnp.stack([jnp.stack([jnp.asarray(c, jnp.float32) for c in end]) for end in ends])
