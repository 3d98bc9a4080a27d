"""Distributions of the return over fixed atoms: projection after a backup, and the loss."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def atoms(
    v_min: Float[Array, ""] | float, v_max: Float[Array, ""] | float, count: int
) -> Float[Array, " atom"]:
    """z_i = v_min + i Δz for i = 0, …, count − 1, exact at both ends."""
    x = jnp.arange(count, dtype=jnp.float32) / (count - 1)
    return (1.0 - x) * v_min + x * v_max


def project(
    prob: Float[Array, "*batch atom"],
    reward: Float[Array, "*batch"],
    discount: Float[Array, "*batch"],
    support: Float[Array, " atom"],
) -> Float[Array, "*batch atom"]:
    """Φ T̂ Z: the distribution of reward + discount·Z, its mass shared by the two atoms around each value.

    Values beyond the outermost atoms count as these. Mass is kept, and so is the mean wherever nothing is
    cut. Bellemare et al. 2017, arXiv:1707.06887, Eq. 7: the share of atom i in a value y is
    [1 − |y − z_i|/Δz], limited to [0, 1], so that a value that is an atom leaves all of its mass there.
    """
    count = support.shape[-1]
    low, high = support[0], support[-1]
    step = (high - low) / (count - 1)
    lead = (1,) * reward.ndim
    value = reward[..., None] + discount[..., None] * support.reshape(*lead, count)
    position = (jnp.clip(value, low, high) - low) / step
    index = jnp.arange(count, dtype=jnp.float32).reshape(*lead, count, 1)
    share = jnp.clip(1.0 - jnp.abs(position[..., None, :] - index), 0.0, 1.0)
    return jax.lax.stop_gradient((share * prob[..., None, :]).sum(axis=-1))


def cross_entropy(
    logits: Float[Array, "*batch atom"], target: Float[Array, "*batch atom"]
) -> Float[Array, "*batch"]:
    """−Σ_i m_i log p_i, the loss of Bellemare et al. 2017, Algorithm 1; p = softmax(logits)."""
    return -(target * jax.nn.log_softmax(logits, axis=-1)).sum(axis=-1)


def kl(logits: Float[Array, "*batch atom"], target: Float[Array, "*batch atom"]) -> Float[Array, "*batch"]:
    """KL(m ‖ p) = Σ_i m_i (log m_i − log p_i), 0 where the distributions are equal; p = softmax(logits)."""
    entropy = -jax.scipy.special.xlogy(target, target).sum(axis=-1)
    return jnp.maximum(cross_entropy(logits, target) - entropy, 0.0)


def mean(logits: Float[Array, "*batch atom"], support: Float[Array, " atom"]) -> Float[Array, "*batch"]:
    """Σ_i z_i p_i, the mean of the distribution."""
    return (jax.nn.softmax(logits, axis=-1) * jnp.broadcast_to(support, logits.shape)).sum(axis=-1)
