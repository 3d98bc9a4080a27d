"""Drawing an index by weight from a single random number."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def choose(weight: Float[Array, "*batch index"], uniform: Float[Array, "*batch"]) -> Int[Array, "*batch"]:
    """The index i with probability weight_i / Σ_j weight_j, given u uniform in [0, 1).

    Inverse of the cumulative sum: one random number a draw, where the Gumbel trick takes one per index.
    Weights are finite and not negative; an index of weight 0 is never drawn. −1 where no weight is positive
    or one is NaN. Probabilities are exact to 2⁻²³, the grain of a float32 uniform.
    """
    rows = jnp.moveaxis(weight, -1, 0)

    def add(total: Array, w: Array) -> tuple[Array, Array]:
        total = total + w
        return total, total

    # Summed strictly in order, so that adding a zero changes no bit and the last sum is the total; a tree of
    # sums (`cumsum`) gives neither.
    total, cumulative = jax.lax.scan(add, jnp.zeros_like(uniform), rows, unroll=min(rows.shape[0], 32))
    index = (jnp.expand_dims(uniform * total, 0) >= cumulative).sum(axis=0, dtype=jnp.int32)
    return jnp.where(total > 0.0, index, -1)
