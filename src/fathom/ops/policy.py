"""Objectives of policy-gradient methods, element by element, and the measures that watch over them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def importance_ratio(
    log_prob: Float[Array, "*batch"], old_log_prob: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """π(a|s) / π_old(a|s) from the logarithms, the exponent at most 88.

    Above that float32 overflows, and the zero gradient of a clipped objective times infinity would be NaN.
    """
    return jnp.exp(jnp.minimum(log_prob - old_log_prob, 88.0))


def clipped_surrogate(
    ratio: Float[Array, "*batch"], advantage: Float[Array, "*batch"], clip: Float[Array, ""] | float
) -> Float[Array, "*batch"]:
    """PPO's objective, to be maximised: min(r·A, clip(r, 1 − ε, 1 + ε)·A).

    Written as A·min(r, 1 + ε) for A ≥ 0 and A·max(r, 1 − ε) for A < 0, which is the same and stays finite for
    an infinite ratio that is clipped. Schulman et al. 2017, arXiv:1707.06347, Eq. 7.
    """
    bounded = jnp.where(advantage >= 0.0, jnp.minimum(ratio, 1.0 + clip), jnp.maximum(ratio, 1.0 - clip))
    return bounded * advantage


def reinforce_loss(
    log_prob: Float[Array, "*batch"], advantage: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """−log π(a|s)·Â, whose gradient is the policy gradient with the sign turned; no gradient through Â.

    Williams 1992; Mnih et al. 2016, arXiv:1602.01783, Section 4.
    """
    return -log_prob * jax.lax.stop_gradient(advantage)


def value_loss(value: Float[Array, "*batch"], target: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """(V − target)², without a half as in PPO's Eq. 9; no gradient through the target."""
    return jnp.square(value - jax.lax.stop_gradient(target))


def clipped_value_loss(
    value: Float[Array, "*batch"],
    old_value: Float[Array, "*batch"],
    target: Float[Array, "*batch"],
    clip: Float[Array, ""] | float,
) -> Float[Array, "*batch"]:
    """max((V − target)², (V_old + clip(V − V_old, −ε, ε) − target)²), ε in units of the value.

    Not in PPO's paper but in its authors' code; Engstrom et al. 2020, arXiv:2005.12729, Eq. 4.
    """
    near = old_value + jnp.clip(value - old_value, -clip, clip)
    return jnp.maximum(value_loss(value, target), value_loss(near, target))


def approx_kl(log_ratio: Float[Array, "*batch"]) -> Float[Array, ""]:
    """The mean of (r − 1) − log r over samples of the old policy: an unbiased, never negative KL(old ‖ new).

    `log_ratio` is log π − log π_old. Schulman 2020, "Approximating KL divergence", estimator k3.
    """
    # Capped as the ratio is: a diagnostic must not overflow where the objective does not.
    return jnp.mean(jnp.expm1(jnp.minimum(log_ratio, 88.0)) - log_ratio)


def adapted_kl_coef(
    coef: Float[Array, ""], kl: Float[Array, ""], target: Float[Array, ""] | float
) -> Float[Array, ""]:
    """β of the next update: halved where KL < d_targ / 1.5, doubled where KL > 1.5 · d_targ.

    Schulman et al. 2017, arXiv:1707.06347, section 4. Kept within [10⁻⁶, 10⁶], whence it can come back.
    """
    adapted = jnp.where(kl < target / 1.5, coef / 2.0, jnp.where(kl > 1.5 * target, coef * 2.0, coef))
    return jnp.clip(adapted, 1e-6, 1e6)


def clip_fraction(ratio: Float[Array, "*batch"], clip: Float[Array, ""] | float) -> Float[Array, ""]:
    """The part of the ratios that lies outside [1 − ε, 1 + ε]."""
    return jnp.mean((jnp.abs(ratio - 1.0) > clip).astype(jnp.float32))


def normalize_advantages(
    advantage: Float[Array, "*batch"],
    eps: Float[Array, ""] | float = 1e-8,
    mask: Bool[Array, "*batch"] | None = None,
) -> Float[Array, "*batch"]:
    """(A − mean) / (std + eps) over all elements, with the standard deviation of the population.

    With a mask, over the elements where it is true; what comes out elsewhere means nothing. Equal advantages,
    a single one among them, give zeros.
    """
    # Without the shift, rounding the mean of large equal numbers would leave a remainder to be blown up.
    first = 0 if mask is None else jnp.argmax(mask.reshape(-1))
    shifted = advantage - advantage.reshape(-1)[first]
    centred = shifted - _mean(shifted, mask)
    std = jnp.sqrt(_mean(jnp.square(centred), mask))
    return jnp.where(std > 0.0, centred / jnp.where(std > 0.0, std + eps, 1.0), 0.0)


def _mean(x: Float[Array, "*batch"], mask: Bool[Array, "*batch"] | None) -> Float[Array, ""]:
    """The mean where the mask is true, 0 where it never is; of all without a mask."""
    if mask is None:
        return x.mean()
    return jnp.where(mask, x, 0.0).sum() / jnp.maximum(mask.sum(), 1).astype(x.dtype)
