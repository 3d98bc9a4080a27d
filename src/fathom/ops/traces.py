"""Eligibility traces of linear values V = wᵀx, of which a table is the case that x marks one cell.

Each environment has a trace z of its own; the weights w are shared. Where several change one weight, it moves
by the mean of what they want, lest environments side by side move it several times as far.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fathom.core.errors import UnknownName

Kind = Literal["accumulating", "replacing", "dutch"]
KINDS = ("accumulating", "replacing", "dutch")


def features(active: Int[Array, "env tile"], size: int) -> Float[Array, "env {size}"]:
    """The vectors x that are 1 at the `active` indices, which differ within a row, and 0 elsewhere."""
    if active.shape[-1] == 1:
        return jax.nn.one_hot(active[:, 0], size, dtype=jnp.float32)
    rows = jnp.arange(active.shape[0], dtype=jnp.int32)[:, None]
    return jnp.zeros((active.shape[0], size), jnp.float32).at[rows, active].set(1.0)


def mark(
    trace: Float[Array, "env feature"],
    x: Float[Array, "env feature"],
    decay: Float[Array, ""] | float,
    step_size: Float[Array, ""] | float,
    kind: str,
) -> Float[Array, "env feature"]:
    """The trace z of the step before, faded by `decay` = γλ and marked at the features x now met.

    "accumulating": γλz + x (Sutton & Barto 2018, Eq. 12.5). "replacing": γλz, and 1 where x is (Eq. 12.12).
    "dutch": γλz + (1 − αγλ zᵀx) x (Eq. 12.11), α being `step_size`. Raises UnknownName for any other.
    """
    faded = decay * trace
    if kind == "accumulating":
        return faded + x
    if kind == "replacing":
        return jnp.where(x > 0.0, x, faded)
    if kind == "dutch":
        overlap = (faded * x).sum(axis=-1, keepdims=True)
        return faded + (1.0 - step_size * overlap) * x
    raise UnknownName("trace", kind, KINDS)


def credit(
    weights: Float[Array, " feature"],
    trace: Float[Array, "env feature"],
    x: Float[Array, "env feature"],
    error: Float[Array, " env"],
    drift: Float[Array, " env"],
    step_size: Float[Array, ""] | float,
) -> Float[Array, " feature"]:
    """The weights w + α [(δ + drift) z − drift·x], the mean over those environments whose z is not 0 there.

    `drift` is V(s) − V_old, by how much the last update itself has moved the value of the state it led to,
    for true online TD(λ) (van Seijen et al. 2016, Algorithm 1; Sutton & Barto 2018, Section 12.5), and 0
    otherwise (Eq. 12.7).
    """
    change = (error + drift)[:, None] * trace - drift[:, None] * x
    if trace.shape[0] == 1:
        return weights + step_size * change[0]
    changing = jnp.maximum((trace != 0.0).sum(axis=0), 1).astype(jnp.float32)
    return weights + step_size * change.sum(axis=0) / changing
