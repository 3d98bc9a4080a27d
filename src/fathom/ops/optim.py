"""Gradient descent by Optax on few arrays, with a step size that may change at every step.

A small network is a dozen small arrays, and an optimiser's dozen operations on each cost more in overhead
than in arithmetic. The small ones are therefore joined into one vector; large ones stay as they are, since
joining them would cost more than it saves.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from fathom.ops.statistics import global_norm

T = TypeVar("T")

_SMALL = 8192  # elements up to which an array is joined with others


def clipped_adam(max_grad_norm: Any, eps: Any = 1e-8) -> optax.GradientTransformation:
    """Clipping by the global norm, then Adam's direction (Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1).

    The direction comes without a step size: `descend` applies it.
    """
    return optax.chain(clip_by_global_norm(max_grad_norm), optax.scale_by_adam(eps=eps))


def clipped_radam(max_grad_norm: Any) -> optax.GradientTransformation:
    """Clipping by the global norm, then RAdam's direction (Liu et al. 2020, arXiv:1908.03265)."""
    return optax.chain(clip_by_global_norm(max_grad_norm), optax.scale_by_radam())


def clipped_rmsprop(max_grad_norm: Any, decay: Any = 0.99, eps: Any = 1e-5) -> optax.GradientTransformation:
    """Clipping by the global norm, then RMSProp's direction Δ / √(g + ε), with g ← α g + (1 − α) Δ².

    Not centred, g from 0, ε under the root: Mnih et al. 2016, arXiv:1602.01783, Section 4, "Optimization".
    `descend` applies the step size.
    """
    rms = optax.scale_by_rms(decay, eps, initial_scale=0.0, eps_in_sqrt=True)
    return optax.chain(clip_by_global_norm(max_grad_norm), rms)


def clipped_centred_rmsprop(
    max_grad_norm: Any, decay: Any = 0.95, eps: Any = 0.01
) -> optax.GradientTransformation:
    """Clipping by the global norm, then the direction Δ / √(n − g² + ε), g and n means of Δ and Δ² that fade.

    g ← ρ g + (1 − ρ) Δ, n ← ρ n + (1 − ρ) Δ², both from 0: RMSProp as Graves 2013, arXiv:1308.0850, Eq. 38 to
    40, has it, with ρ and ε of Mnih et al. 2015, Extended Data Table 1. `descend` applies the step size.
    """
    rms = optax.scale_by_stddev(decay, eps, initial_scale=0.0, eps_in_sqrt=True)
    return optax.chain(clip_by_global_norm(max_grad_norm), rms)


def clip_by_global_norm(max_grad_norm: Any) -> optax.GradientTransformation:
    """Gradients scaled down to a global norm of `max_grad_norm` where it is larger; NaN where it is NaN.

    Optax's own takes the norm anew; with `global_norm` XLA shares it with the one that `descend` returns.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        norm = global_norm(updates)
        scale = jnp.where(norm < max_grad_norm, 1.0, max_grad_norm / norm)
        return jax.tree.map(lambda g: g * scale, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def start(optimizer: optax.GradientTransformation, params: Any) -> optax.OptState:
    """The optimiser's state for these parameters."""
    return optimizer.init(_pack(params)[0])


def descend(
    optimizer: optax.GradientTransformation,
    params: T,
    grads: T,
    opt_state: optax.OptState,
    step_size: Float[Array, ""] | float,
) -> tuple[T, optax.OptState, Float[Array, ""]]:
    """One step, θ ← θ − α · direction(gradient): params, opt_state, and the norm before clipping."""
    gradient, _ = _pack(grads)
    direction: Any
    # Optax mixes integer counts with floats, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        direction, opt_state = optimizer.update(gradient, jax.tree.map(_flush, opt_state))
    theta, unpack = _pack(params)
    moved = jax.tree.map(lambda p, d: p - step_size * d, theta, direction)
    return unpack(moved), opt_state, global_norm(gradient)


def polyak(target: T, params: T, tau: Float[Array, ""] | float) -> T:
    """Weights that trail the trained ones: τ θ + (1 − τ) θ⁻; 1 copies. Lillicrap et al. 2016, Algorithm 1."""
    return jax.tree.map(lambda t, p: tau * p + (1.0 - tau) * t, target, params)


def _pack(tree: T) -> tuple[list[Array], Callable[[list[Array]], T]]:
    """A tree's large arrays, and one vector of all its small ones; and the way back."""
    leaves, form = jax.tree.flatten(tree)
    small = [i for i, leaf in enumerate(leaves) if leaf.size <= _SMALL]
    large = [i for i, leaf in enumerate(leaves) if leaf.size > _SMALL]
    vector, unravel = ravel_pytree([leaves[i] for i in small])

    def unpack(packed: list[Array]) -> T:
        order = dict(zip([*small, *large], [*unravel(packed[0]), *packed[1:]], strict=True))
        return jax.tree.unflatten(form, [order[i] for i in range(len(leaves))])

    return [vector, *(leaves[i] for i in large)], unpack


def _flush(x: Array) -> Array:
    """Set to 0 what is too small to matter.

    The moments of a unit that has died shrink by a factor at each step until they are subnormal, where the
    factor rounds to 1 and they stay, and where a processor takes many times longer for each.
    """
    return jnp.where(jnp.abs(x) < 1e-30, 0.0, x) if jnp.issubdtype(x.dtype, jnp.floating) else x
