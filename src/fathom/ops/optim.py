"""Gradient descent by Optax on one flat vector, with a step size that may change at every step.

A small network is a dozen small arrays, and an optimiser's dozen operations on each cost more in overhead
than in arithmetic; on one vector they fuse.
"""

from typing import Any, TypeVar

import jax
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from fathom.ops.statistics import global_norm

T = TypeVar("T")


def clipped_adam(max_grad_norm: Any, eps: Any = 1e-8) -> optax.GradientTransformation:
    """Clipping by the global norm, then Adam's direction (Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1).

    The direction comes without a step size: `descend` applies it.
    """
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.scale_by_adam(eps=eps))


def start(optimizer: optax.GradientTransformation, params: Any) -> optax.OptState:
    """The optimiser's state for these parameters."""
    return optimizer.init(ravel_pytree(params)[0])


def descend(
    optimizer: optax.GradientTransformation,
    params: T,
    grads: T,
    opt_state: optax.OptState,
    step_size: Float[Array, ""] | float,
) -> tuple[T, optax.OptState, Float[Array, ""]]:
    """One step, θ ← θ − α · direction(gradient): params, opt_state, and the norm before clipping."""
    gradient, _ = ravel_pytree(grads)
    direction: Any
    # Optax mixes integer counts with floats, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        direction, opt_state = optimizer.update(gradient, opt_state)
    theta, unravel = ravel_pytree(params)
    return unravel(theta - step_size * direction), opt_state, global_norm(gradient)
