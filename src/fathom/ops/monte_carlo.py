"""Returns of every visit of an episode, summed while it is under way: nothing is stored or cut short.

A visit at time t with weight w wants w·G_t, and G_t = Σ_k γ^(k−t) r_k is known only at the end. Each cell
keeps the factor by which the next reward enters the sums of all its visits so far: a trace.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Sums(eqx.Module):
    """Of every environment's episode under way."""

    trace: Float[Array, "env cell"]  # Σ_visits w γ^(t − visit)
    total: Float[Array, "env cell"]  # Σ_visits w·(return so far)
    weight: Float[Array, "env cell"]  # Σ_visits w


def nothing(num_envs: int, cells: int) -> Sums:
    """The sums at the start of an episode."""
    zeros = jnp.zeros((num_envs, cells), jnp.float32)
    return Sums(zeros, zeros, zeros)


def visit(
    sums: Sums,
    x: Float[Array, "env cell"],
    reward: Float[Array, " env"],
    gamma: Float[Array, ""] | float,
    ratio: Float[Array, " env"] | float = 1.0,
) -> Sums:
    """The sums after one more step.

    `x` is the weight of this visit at the cell visited and 0 elsewhere, `reward` what the step earned.
    `ratio` is ρ = π(A|S)/b(A|S) of the step: it multiplies the weights of all earlier visits, as in W ← W π/b
    of Sutton & Barto 2018, Section 5.6, whose loop goes backwards.
    """
    ratio = jnp.broadcast_to(jnp.asarray(ratio, jnp.float32), reward.shape)[:, None]
    trace = gamma * ratio * sums.trace + x
    return Sums(trace, ratio * sums.total + reward[:, None] * trace, ratio * sums.weight + x)


def fold(
    values: Float[Array, " cell"],
    seen: Float[Array, " cell"],
    sums: Sums,
    over: Bool[Array, " env"],
    average: bool,
) -> tuple[Float[Array, " cell"], Float[Array, " cell"]]:
    """The values once the episodes that are `over` have been taken in, and the weight `seen` in all.

    With `average` they are Σ w G / Σ w over all visits ever (Sutton & Barto 2018, Eq. 5.6 to 5.8; the plain
    mean where every w is 1). Else V + Σ w (G − V), for visits whose weights are step sizes, the mean over the
    environments whose episodes these are.
    """
    ended = over[:, None].astype(jnp.float32)
    if not average and over.shape[0] > 1:
        ended = ended / jnp.maximum((ended * sums.weight > 0.0).sum(axis=0), 1).astype(jnp.float32)[None]
    weight, total = (ended * sums.weight).sum(axis=0), (ended * sums.total).sum(axis=0)
    seen = seen + weight
    step_size = jnp.where(seen > 0.0, 1.0 / jnp.where(seen > 0.0, seen, 1.0), 0.0) if average else 1.0
    return values + step_size * (total - weight * values), seen
