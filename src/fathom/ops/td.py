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
    return td_target(reward, discount, best_value(next_q, mask))


def best_value(
    q: Float[Array, "*batch action"], mask: Bool[Array, "*batch action"] | None = None
) -> Float[Array, "*batch"]:
    """max_a Q(s, a) over the legal actions; −∞ where there is none."""
    return _legal(q, mask).max(axis=-1)


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


def chosen(
    values: Float[Array, "*batch action atom"],
    q: Float[Array, "*batch action"],
    mask: Bool[Array, "*batch action"] | None = None,
) -> Float[Array, "*batch atom"]:
    """What belongs to the legal action that `q` has the highest value of; of the first among equals.

    Where no action is legal it is that of the first: then only a discount of 0 makes sense of the target.
    """
    best = jnp.argmax(_legal(q, mask), axis=-1)[..., None, None]
    return jnp.take_along_axis(values, best, axis=-2)[..., 0, :]


def soft_value(
    q: Float[Array, "*batch action"],
    temperature: Float[Array, ""] | float,
    mask: Bool[Array, "*batch action"] | None = None,
) -> Float[Array, "*batch"]:
    """V(s) = α log Σ_a exp(Q(s, a)/α) over the legal actions; tends to the maximum for small α.

    −∞ where no action is legal. Haarnoja et al. 2017, arXiv:1702.08165, Theorem 1, for finitely many actions.
    """
    return temperature * jax.nn.logsumexp(_legal(q, mask) / temperature, axis=-1)


def huber(error: Float[Array, "*batch"], delta: Float[Array, ""] | float = 1.0) -> Float[Array, "*batch"]:
    """½e² where |e| ≤ δ, and δ·(|e| − ½δ) beyond: the gradient never exceeds δ. Huber 1964."""
    size = jnp.abs(error)
    inner = jnp.minimum(size, delta)
    return 0.5 * inner * inner + delta * (size - inner)


def squared(error: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """½e², to which `huber` tends for large δ."""
    return 0.5 * error * error


def quantile_midpoints(count: int) -> Float[Array, " quantile"]:
    """τ_m = (2m − 1)/2M for m = 1, …, M."""
    return (jnp.arange(count, dtype=jnp.float32) + 0.5) / count


def quantile_huber(
    quantiles: Float[Array, "*batch quantile"],
    target: Float[Array, "*batch target"],
    delta: Float[Array, ""] | float = 1.0,
    tau: Float[Array, "*batch quantile"] | None = None,
) -> Float[Array, "*batch"]:
    """The mean of |τ_m − 1[u < 0]| huber(u)/δ over all pairs, u = y_i − θ_m.

    τ_m is (2m − 1)/2M unless it is given. The loss is least where θ_m are the targets' quantiles at τ_1, …,
    τ_M, smoothed within δ of them.
    Dabney et al. 2018, arXiv:1710.10044, Eq. 10, divided by δ as in arXiv:1806.06923, Eq. 3.
    """
    error = target[..., None, :] - quantiles[..., :, None]
    if tau is None:
        tau = quantile_midpoints(quantiles.shape[-1])
        tau = jnp.expand_dims(tau, tuple(range(quantiles.ndim - 1)))
    tau = tau[..., None]
    slope = jnp.abs(tau - (error < 0.0).astype(jnp.float32))
    return (slope * huber(error, delta) / delta).mean(axis=(-2, -1))


def _legal(q: Array, mask: Array | None) -> Array:
    """The action values, −∞ where the action is illegal."""
    return q if mask is None else jnp.where(mask, q, -jnp.inf)
