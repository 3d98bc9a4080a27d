"""Tile coding: a point in a box as the tiles that cover it, one in each of several shifted grids."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def count(tilings: int, tiles: int, dimensions: int) -> int:
    """How many tiles there are: a shifted grid needs one more along each side to cover the box."""
    return tilings * (tiles + 1) ** dimensions


def code(x: Float[Array, "*batch d"], tilings: int, tiles: int) -> Int[Array, "*batch {tilings}"]:
    """The tile of each tiling in which a point of the unit box lies; points outside are moved to its edge.

    A tile is 1/`tiles` wide along each dimension. Tiling i is shifted by i·(1, 3, 5, …)/`tilings` tiles,
    modulo one tile, the displacement that Sutton & Barto 2018, Section 9.5.4, recommend. Every tile has a
    number of its own, none is hashed.
    """
    d = x.shape[-1]
    odd = 2 * jnp.arange(d, dtype=jnp.int32) + 1
    shift = (jnp.arange(tilings, dtype=jnp.int32)[:, None] * odd[None, :]) % tilings  # [tiling, d]
    scaled = jnp.clip(x, 0.0, 1.0) * tiles
    offset = shift.astype(jnp.float32) / tilings
    cell = jnp.floor(scaled[..., None, :] + offset.reshape(*[1] * (x.ndim - 1), tilings, d)).astype(jnp.int32)
    cell = jnp.minimum(cell, tiles)
    strides = (tiles + 1) ** jnp.arange(d, dtype=jnp.int32)
    within = (cell * strides.reshape(*[1] * x.ndim, d)).sum(axis=-1)
    first = jnp.arange(tilings, dtype=jnp.int32) * (tiles + 1) ** d
    return within + first.reshape(*[1] * (x.ndim - 1), tilings)
