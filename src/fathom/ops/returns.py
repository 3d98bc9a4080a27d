"""Returns and advantages over rollouts [time, env].

Every function takes the two ends of an episode apart. `terminated` at t: the task is over, what follows is
worth 0. `truncated` at t: the episode was cut, what follows is worth `final_value[t]`, the value of the
observation s_{t+1} reached before any reset. Where both hold, `terminated` wins. The last row of a rollout is
cut like a truncated one. Gradients pass through: stop them where the values themselves are being learned.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fathom.core.errors import FathomError

_Window = tuple[Array, Array, Array, Array]  # reward so far, γ^k, last row, whether it goes on


def discounted_returns(
    reward: Float[Array, "time env"],
    terminated: Bool[Array, "time env"],
    truncated: Bool[Array, "time env"],
    final_value: Float[Array, "time env"],
    gamma: Float[Array, ""] | float,
) -> Float[Array, "time env"]:
    """The return from each step to the end of its episode, or to the value where it was cut.

    G_t = r_t + γ·(0 if terminated_t, V(s_{t+1}) if truncated_t or t is the last row, else G_{t+1}).
    Sutton & Barto 2018, Eq. 3.9, with a bootstrap at cuts.
    """
    following = jnp.where(terminated, 0.0, final_value)
    over = terminated | truncated
    base = reward + gamma * jnp.where(over, following, 0.0)
    return _backward(base, gamma * jnp.where(over, 0.0, 1.0), following[-1])


def gae(
    reward: Float[Array, "time env"],
    terminated: Bool[Array, "time env"],
    truncated: Bool[Array, "time env"],
    value: Float[Array, "time env"],
    final_value: Float[Array, "time env"],
    gamma: Float[Array, ""] | float,
    gae_lambda: Float[Array, ""] | float,
) -> Float[Array, "time env"]:
    """Generalised advantage estimate of each step.

    `value` is V(s_t), `final_value` is V(s_{t+1}) before any reset.
    δ_t = r_t + γ·(1 − terminated_t)·V(s_{t+1}) − V(s_t);
    Â_t = δ_t + γλ·(1 − (terminated_t or truncated_t))·Â_{t+1}, with Â = 0 after the last row.
    Schulman et al. 2016, arXiv:1506.02438, Eq. 16.
    """
    delta = reward + gamma * jnp.where(terminated, 0.0, final_value) - value
    decay = (gamma * gae_lambda) * jnp.where(terminated | truncated, 0.0, 1.0)
    return _backward(delta, decay, jnp.zeros_like(delta[-1]))


def lambda_returns(
    reward: Float[Array, "time env"],
    terminated: Bool[Array, "time env"],
    truncated: Bool[Array, "time env"],
    final_value: Float[Array, "time env"],
    gamma: Float[Array, ""] | float,
    td_lambda: Float[Array, ""] | float,
) -> Float[Array, "time env"]:
    """The λ-return of each step: λ = 0 is the one-step target, λ = 1 the discounted return.

    G_t = r_t + γ·(1 − terminated_t)·((1 − λ)·V(s_{t+1}) + λ·G_{t+1}), with V(s_{t+1}) for G_{t+1} where
    truncated and at the last row. Equal to `gae(...) + value`.
    Sutton & Barto 2018, Eq. 12.2 and Exercise 12.1.
    """
    following = jnp.where(terminated, 0.0, final_value)
    trace = td_lambda * jnp.where(terminated | truncated, 0.0, 1.0)
    return _backward(reward + gamma * (1.0 - trace) * following, gamma * trace, following[-1])


class NStep(NamedTuple):
    """What `n_step_returns` gives for each step t; k ≤ n is the number of steps really used."""

    target: Float[Array, "time env"]  # reward + discount·V(s_{t+k})
    reward: Float[Array, "time env"]  # Σ_{i<k} γ^i r_{t+i}
    discount: Float[Array, "time env"]  # γ^k, and 0 where the task terminated
    last: Int[Array, "time env"]  # row t + k − 1, whose final observation is s_{t+k}


def n_step_returns(
    reward: Float[Array, "time env"],
    terminated: Bool[Array, "time env"],
    truncated: Bool[Array, "time env"],
    final_value: Float[Array, "time env"],
    gamma: Float[Array, ""] | float,
    n: int,
) -> NStep:
    """The n-step return of each step, shortened where the episode or the rollout ends first.

    G_t = Σ_{i<k} γ^i r_{t+i} + γ^k·(1 − terminated_{t+k−1})·V(s_{t+k}). Sutton & Barto 2018, Eq. 7.1.
    Raises FathomError where n < 1.
    """
    if n < 1:
        raise FathomError(f"n_step_returns: n is {n}; a return spans at least one step, so give n ≥ 1.")
    rows = reward.shape[0]
    here = jax.lax.broadcasted_iota(jnp.int32, reward.shape, 0)
    over = terminated | truncated
    gamma = jnp.asarray(gamma, reward.dtype)

    def extend(i: Array, carry: _Window) -> _Window:
        total, discount, last, open_ = carry
        row = jnp.minimum(here + i, rows - 1)
        used = open_ & (here + i < rows)
        total = total + jnp.where(used, discount * jnp.take_along_axis(reward, row, axis=0), 0.0)
        discount = jnp.where(used, discount * gamma, discount)
        last = jnp.where(used, row, last)
        return total, discount, last, used & ~jnp.take_along_axis(over, row, axis=0)

    start: _Window = (jnp.zeros_like(reward), jnp.ones_like(reward), here, jnp.ones_like(over))
    window: _Window = jax.lax.fori_loop(0, min(n, rows), extend, start)
    total, power, last, _ = window
    stopped = jnp.take_along_axis(terminated, last, axis=0)
    discount = jnp.where(stopped, 0.0, power)
    following = jnp.where(stopped, 0.0, jnp.take_along_axis(final_value, last, axis=0))
    return NStep(total + discount * following, total, discount, last)


def running_discounted_return(
    carry: Float[Array, " env"],
    reward: Float[Array, "time env"],
    over: Bool[Array, "time env"],
    gamma: Float[Array, ""] | float,
) -> tuple[Float[Array, " env"], Float[Array, "time env"]]:
    """The discounted sum of the rewards up to each step, for scaling rewards by its spread.

    R_t = γ·R_{t−1} + r_t, starting anew after a step at which the episode is `over` (terminated or
    truncated).
    `carry` is R before the first row; returns R to carry on with, and R_t for every row.
    Engstrom et al. 2020, arXiv:2005.12729, Algorithm 1.
    """

    def step(before: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        r, ended = row
        total = gamma * before + r
        return jnp.where(ended, 0.0, total), total

    return jax.lax.scan(step, carry, (reward, over))


def _backward(
    base: Float[Array, "time env"], decay: Float[Array, "time env"], last: Float[Array, " env"]
) -> Float[Array, "time env"]:
    """x_t = base_t + decay_t·x_{t+1}, with x = `last` after the last row."""

    def step(following: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        b, d = row
        x = b + d * following
        return x, x

    # Not unrolled and not associative: on CPU both were measured to be slower (2-10 times at 128 × 64).
    return jax.lax.scan(step, last, (base, decay), reverse=True)[1]
