"""Gradient descent by Optax, with a step size that may change at every step."""

from typing import Any, TypeVar

import jax
import optax
from jaxtyping import Array, Float

T = TypeVar("T")


def clipped_adam(max_grad_norm: Any, eps: Any = 1e-8) -> optax.GradientTransformation:
    """Clipping by the global norm, then Adam's direction (Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1).

    The direction comes without a step size: `descend` applies it.
    """
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.scale_by_adam(eps=eps))


def descend(
    optimizer: optax.GradientTransformation,
    params: T,
    grads: T,
    opt_state: optax.OptState,
    step_size: Float[Array, ""] | float,
) -> tuple[T, optax.OptState]:
    """One step: θ ← θ − α · direction(gradient). Trees of one structure; returns (params, opt_state)."""
    # Optax mixes integer counts with floats, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        direction, opt_state = optimizer.update(grads, opt_state)  # pyright: ignore[reportArgumentType]
    return jax.tree.map(lambda p, d: p - step_size * d, params, direction), opt_state
