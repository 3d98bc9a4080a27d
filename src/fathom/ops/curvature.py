"""Second-order steps: products with a Hessian that is never written down, and the system solved by them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Vector = Float[Array, " n"]
Product = Callable[[Array], Array]


def hessian_product(function: Callable[[Array], Array], at: Vector, damping: float | Array = 0.0) -> Product:
    """The map v ↦ (H + damping·1) v, H being the Hessian of a scalar function: forward over reverse.

    The derivative of the gradient along v (Pearlmutter 1994), linearised once, so that what does not depend
    on v is computed once for all products.
    """
    _, along = jax.linearize(jax.grad(function), at)
    return lambda v: along(v) + damping * v


def conjugate_gradient(
    product: Product, b: Vector, iterations: int, tolerance: float | Array = 1e-10
) -> tuple[Vector, Float[Array, ""]]:
    """The x with A x ≈ b, for a symmetric positive definite A given by its products; and |b − A x|².

    At most `iterations` steps from x = 0, fewer where |b − A x|² falls to `tolerance`·|b|² or where a
    direction of no or negative curvature is met. Hestenes & Stiefel 1952.
    """
    enough = tolerance * jnp.vdot(b, b)

    def going(carry: tuple) -> Array:
        i, _, _, _, square, curved = carry
        return (i < iterations) & (square > enough) & curved

    def step(carry: tuple) -> tuple:
        i, x, residual, direction, square, _ = carry
        moved = product(direction)
        curvature = jnp.vdot(direction, moved)
        curved = curvature > 0.0
        length = jnp.where(curved, square / jnp.where(curved, curvature, 1.0), 0.0)
        x = x + length * direction
        residual = residual - length * moved
        following = jnp.vdot(residual, residual)
        direction = residual + (following / square) * direction
        return i + 1, x, residual, direction, following, curved

    start = (jnp.asarray(0, jnp.int32), jnp.zeros_like(b), b, b, jnp.vdot(b, b), jnp.asarray(True))
    _, x, _, _, square, _ = jax.lax.while_loop(going, step, start)
    return x, square
