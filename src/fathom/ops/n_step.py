"""n-step returns as they fall due: a window over the last n steps of every environment.

Values are linear in binary features, V = Σ_k w[active_k]; a table has one active cell at a time.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fathom.ops.td import td_target


class Window(eqx.Module):
    """The last n steps of each environment's episode, the newest last; the first n − count are yet empty."""

    active: Int[Array, "env n tile"]  # the features of what was acted on
    reward: Float[Array, "env n"]
    count: Int[Array, " env"]


def empty(num_envs: int, n: int, tiles: int = 1) -> Window:
    """The window at the start of an episode."""
    return Window(
        jnp.zeros((num_envs, n, tiles), jnp.int32),
        jnp.zeros((num_envs, n), jnp.float32),
        jnp.zeros(num_envs, jnp.int32),
    )


def push(window: Window, active: Int[Array, "env tile"], reward: Float[Array, " env"]) -> Window:
    """The window with one more step; the oldest falls out."""
    return Window(
        jnp.concatenate([window.active[:, 1:], active[:, None]], axis=1),
        jnp.concatenate([window.reward[:, 1:], reward[:, None]], axis=1),
        jnp.minimum(window.count + 1, window.reward.shape[1]),
    )


def learn(
    weights: Float[Array, " feature"],
    window: Window,
    next_active: Int[Array, "env tile"],
    discount: Float[Array, " env"],
    over: Bool[Array, " env"],
    gamma: Float[Array, ""] | float,
    step_size: Float[Array, ""] | float,
) -> tuple[Float[Array, " feature"], Float[Array, ""], Int[Array, ""]]:
    """Move the values of the steps whose returns are complete by α times their error.

    That is the step n steps ago, and where the episode is `over` every step still in the window, the oldest
    first: lines τ = t − n + 1, …, T − 1 of Sutton & Barto 2018, Section 7.1 (and 7.2, 10.2). The return is
    G = Σ_{i<k} γ^i r + γ^(k−1) discount·V(next), with k the steps from the one to the newest and `discount`
    γ, or 0 where the newest step terminated the task; V(next) is read anew before each change. Where several
    environments change one weight at once, it moves by the mean of what they want.

    Returns the weights, the sum of |G − V| and the number of changes, which the environments share.
    """
    n = window.reward.shape[1]
    first = n - window.count
    due = jnp.where(over, window.count, (window.count == n).astype(jnp.int32))

    def change(k: Array, carry: tuple) -> tuple:
        weights, total = carry
        at = jnp.minimum(first + k, n - 1)
        ahead = jnp.arange(n, dtype=jnp.int32)[None, :] - at[:, None]
        fading = jnp.where(ahead >= 0, gamma ** jnp.maximum(ahead, 0).astype(jnp.float32), 0.0)
        tail = fading[:, -1] * discount
        target = td_target((fading * window.reward).sum(axis=-1), tail, weights[next_active].sum(axis=-1))
        active = jnp.take_along_axis(window.active, at[:, None, None], axis=1)[:, 0]
        counted = (k < due).astype(jnp.float32)
        error = (target - weights[active].sum(axis=-1)) * counted
        share = jnp.ones(())
        if active.shape[0] > 1:
            share = jnp.maximum(jnp.zeros_like(weights).at[active].add(counted[:, None])[active], 1.0)
        weights = weights.at[active].add(step_size * error[:, None] / share)
        return weights, total + jnp.abs(error).sum()

    weights, total = jax.lax.fori_loop(0, due.max(), change, (weights, jnp.zeros((), jnp.float32)))
    return weights, total, due.sum()
