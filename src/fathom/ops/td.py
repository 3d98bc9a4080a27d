"""Temporal-difference targets and the losses on their errors.

`discount` is γ, or γ^k for a k-step transition, and 0 where the task terminated: then what follows is
ignored, even if it is infinite or has no legal action. Targets carry no gradient.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def td_target(
    reward: Float[Array, "*batch"], discount: Float[Array, "*batch"], next_value: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """The target r + discount·V(s'). Sutton & Barto 2018, Eq. 6.2."""
    following = jnp.where(discount == 0.0, 0.0, next_value)
    return jax.lax.stop_gradient(reward + discount * following)


def q_target(
    reward: Float[Array, "*batch"],
    discount: Float[Array, "*batch"],
    next_q: Float[Array, "*batch action"],
    mask: Bool[Array, "*batch action"] | None = None,
) -> Float[Array, "*batch"]:
    """The target r + discount·max_a Q(s', a), the maximum over the actions that are legal in s'.

    Where no action is legal the target is −∞ (unless discount is 0): the loss shows it at once.
    Watkins 1989; Mnih et al. 2015, Eq. 2.
    """
    return td_target(reward, discount, _legal(next_q, mask).max(axis=-1))


def double_q_target(
    reward: Float[Array, "*batch"],
    discount: Float[Array, "*batch"],
    next_q_target: Float[Array, "*batch action"],
    next_q_online: Float[Array, "*batch action"],
    mask: Bool[Array, "*batch action"] | None = None,
) -> Float[Array, "*batch"]:
    """The target r + discount·Q_target(s', argmax_a Q_online(s', a)): one network chooses, the other judges.

    Where no action is legal the target is −∞ (unless discount is 0).
    van Hasselt et al. 2016, arXiv:1509.06461, Eq. 4.
    """
    chosen = jnp.argmax(_legal(next_q_online, mask), axis=-1, keepdims=True)
    judged = jnp.take_along_axis(_legal(next_q_target, mask), chosen, axis=-1)
    return td_target(reward, discount, judged[..., 0])


def huber(error: Float[Array, "*batch"], delta: Float[Array, ""] | float = 1.0) -> Float[Array, "*batch"]:
    """½e² where |e| ≤ δ, and δ·(|e| − ½δ) beyond: the gradient never exceeds δ. Huber 1964."""
    size = jnp.abs(error)
    inner = jnp.minimum(size, delta)
    return 0.5 * inner * inner + delta * (size - inner)


def squared(error: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """½e², to which `huber` tends for large δ."""
    return 0.5 * error * error


def quantile_huber(
    quantiles: Float[Array, "*batch quantile"],
    target: Float[Array, "*batch target"],
    delta: Float[Array, ""] | float = 1.0,
) -> Float[Array, "*batch"]:
    """The mean of |τ_m − 1[u < 0]| huber(u)/δ over all pairs, u = y_i − θ_m, with τ_m = (2m − 1)/2M.

    It is least where θ_m are the targets' quantiles at τ_1, …, τ_M, smoothed within δ of them.
    Dabney et al. 2018, arXiv:1710.10044, Eq. 10.
    """
    count = quantiles.shape[-1]
    tau = (jnp.arange(count, dtype=jnp.float32) + 0.5) / count
    error = target[..., None, :] - quantiles[..., :, None]
    tau = jnp.expand_dims(tau[:, None], tuple(range(error.ndim - 2)))
    slope = jnp.abs(tau - (error < 0.0).astype(jnp.float32))
    return (slope * huber(error, delta) / delta).mean(axis=(-2, -1))


def _legal(q: Array, mask: Array | None) -> Array:
    """The action values, −∞ where the action is illegal."""
    return q if mask is None else jnp.where(mask, q, -jnp.inf)
