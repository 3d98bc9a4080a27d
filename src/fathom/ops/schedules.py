"""Schedules: pure functions of `progress`, the part of the run's horizon that is behind, in [0, 1].

Each goes from `start` to `end` over the first `fraction` of the run and stays there. Nothing is remembered,
so a resumed run continues where it was.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fathom.core.errors import FathomError


def constant(
    value: Float[Array, ""] | float, progress: Float[Array, "*shape"] | float
) -> Float[Array, "*shape"]:
    """The same value throughout."""
    return jnp.full(jnp.shape(progress), value, jnp.float32)


def linear(
    start: Float[Array, ""] | float,
    end: Float[Array, ""] | float,
    progress: Float[Array, "*shape"] | float,
    fraction: Float[Array, ""] | float = 1.0,
) -> Float[Array, "*shape"]:
    """The line start + x·(end − start), x = progress/fraction limited to [0, 1]; exact at both ends."""
    x = _portion(progress, fraction)
    return jnp.where(x < 1.0, start + x * (end - start), end)


def annealed(
    value: Float[Array, ""] | float, anneal: bool, progress: Float[Array, "*shape"] | float
) -> Float[Array, "*shape"]:
    """The value, falling linearly to 0 over the whole run if `anneal`."""
    return linear(value, 0.0 if anneal else value, progress)


def exponential(
    start: Float[Array, ""] | float,
    end: Float[Array, ""] | float,
    progress: Float[Array, "*shape"] | float,
    fraction: Float[Array, ""] | float = 1.0,
) -> Float[Array, "*shape"]:
    """start^(1 − x)·end^x, x = progress/fraction limited to [0, 1]: the same factor in every equal span.

    Both ends must be positive: FathomError for plain numbers that are not; for arrays the result is NaN.
    """
    for name, bound in (("start", start), ("end", end)):
        if isinstance(bound, float) and not bound > 0.0:
            raise FathomError(
                f"exponential schedule: {name} is {bound}, and a ratio needs positive ends; "
                "use a small positive number, or a linear schedule."
            )
    x = _portion(progress, fraction)
    low, high = jnp.log(jnp.asarray(start, jnp.float32)), jnp.log(jnp.asarray(end, jnp.float32))
    return jnp.exp((1.0 - x) * low + x * high)


def cosine(
    start: Float[Array, ""] | float,
    end: Float[Array, ""] | float,
    progress: Float[Array, "*shape"] | float,
    fraction: Float[Array, ""] | float = 1.0,
) -> Float[Array, "*shape"]:
    """The half cosine end + (start − end)·½(1 + cos πx), x = progress/fraction limited to [0, 1].

    Loshchilov & Hutter 2017, arXiv:1608.03983, Eq. 5, without restarts.
    """
    weight = 0.5 * (1.0 + jnp.cos(jnp.pi * _portion(progress, fraction)))
    return weight * start + (1.0 - weight) * end


def _portion(progress: Array | float, fraction: Array | float) -> Array:
    """progress/fraction limited to [0, 1]; 1 for a fraction of 0, a schedule that is over at once."""
    progress = jnp.asarray(progress, jnp.float32)
    fraction = jnp.asarray(fraction, jnp.float32)
    some = fraction > 0.0
    return jnp.where(some, jnp.clip(progress / jnp.where(some, fraction, 1.0), 0.0, 1.0), 1.0)
