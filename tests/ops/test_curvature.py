import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.ops.curvature import conjugate_gradient, hessian_product


def array(*rows):
    return jnp.asarray(rows, jnp.float32)


def spd(n, seed=0):
    """A random symmetric positive definite matrix of condition below 10."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return (q * rng.uniform(1.0, 9.0, n)) @ q.T


@pytest.mark.parametrize("way", [lambda f: f, jax.jit])
def test_a_known_system(way):
    """[[4, 1], [1, 3]] x = [1, 2] has the solution [1/11, 7/11], found in two steps."""
    a, b = array([4.0, 1.0], [1.0, 3.0]), array(1.0, 2.0)
    x, square = way(lambda b: conjugate_gradient(lambda v: a @ v, b, 2))(b)
    np.testing.assert_allclose(x, [1 / 11, 7 / 11], rtol=1e-6)
    assert float(square) < 1e-10
    first, square = way(lambda b: conjugate_gradient(lambda v: a @ v, b, 1))(b)
    # One step along b, of length |b|²/bᵀAb = 5/20.
    np.testing.assert_allclose(first, [0.25, 0.5], rtol=1e-6)
    np.testing.assert_allclose(square, (1 - 1.5) ** 2 + (2 - 1.75) ** 2, rtol=1e-6)


def test_random_systems_and_several_at_once():
    systems = np.stack([spd(20, s) for s in range(3)]).astype(np.float32)
    b = np.random.default_rng(9).normal(size=(3, 20)).astype(np.float32)
    solve = jax.jit(jax.vmap(lambda a, b: conjugate_gradient(lambda v: a @ v, b, 40)[0]))
    got = solve(jnp.asarray(systems), jnp.asarray(b))
    for a, right, x in zip(systems, b, got, strict=True):
        np.testing.assert_allclose(x, np.linalg.solve(a.astype(float), right), rtol=1e-3, atol=1e-4)


def test_it_stops_when_it_is_near_enough():
    """With a tolerance of 1 the start is near enough already."""
    x, square = conjugate_gradient(lambda v: 2.0 * v, array(3.0, 4.0), 5, tolerance=1.0)
    np.testing.assert_array_equal(x, [0.0, 0.0])
    assert float(square) == 25.0


def test_no_right_side_and_no_curvature_give_finite_numbers():
    zero, _ = conjugate_gradient(lambda v: 2.0 * v, array(0.0, 0.0), 5)
    np.testing.assert_array_equal(zero, [0.0, 0.0])
    flat, square = conjugate_gradient(lambda v: 0.0 * v, array(3.0, 4.0), 5)
    np.testing.assert_array_equal(flat, [0.0, 0.0])
    assert float(square) == 25.0


@pytest.mark.parametrize("way", [lambda f: f, jax.jit])
def test_products_with_a_hessian(way):
    """Of x²y + sin y at (1, 2): [[2y, 2x], [2x, −sin y]]."""

    def function(z):
        return z[0] ** 2 * z[1] + jnp.sin(z[1])

    at = array(1.0, 2.0)
    hessian = np.array([[4.0, 2.0], [2.0, -np.sin(2.0)]])
    columns = [way(lambda v: hessian_product(function, at)(v))(e) for e in jnp.eye(2)]
    np.testing.assert_allclose(np.stack(columns, axis=1), hessian, rtol=1e-6)
    damped = way(lambda v: hessian_product(function, at, 0.5)(v))(array(1.0, 1.0))
    np.testing.assert_allclose(damped, hessian.sum(axis=1) + 0.5, rtol=1e-6)
