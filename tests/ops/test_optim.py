import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.ops import optim

PARAMS = {"w": jnp.asarray([[1.0, 2.0]]), "b": jnp.asarray([3.0])}
GRADS = {"w": jnp.asarray([[3.0, 0.0]]), "b": jnp.asarray([-4.0])}


@pytest.mark.parametrize("way", [lambda f: f, jax.jit])
def test_first_steps_by_hand(way):
    """Adam's first step is α·g/(|g| + ε); with equal gradients so is the second."""
    optimizer = optim.clipped_adam(1e9, eps=1.0)
    step = way(lambda p, s: optim.descend(optimizer, p, GRADS, s, jnp.float32(0.5)))
    params, state, norm = step(PARAMS, optim.start(optimizer, PARAMS))
    assert float(norm) == 5.0
    np.testing.assert_allclose(params["w"], [[1 - 0.5 * 3 / 4, 2.0]], rtol=1e-5)
    np.testing.assert_allclose(params["b"], [3 + 0.5 * 4 / 5], rtol=1e-5)
    params, _, _ = step(params, state)
    np.testing.assert_allclose(params["b"], [3 + 2 * 0.5 * 4 / 5], rtol=1e-5)


def test_gradients_are_clipped_by_their_global_norm():
    optimizer = optim.clipped_adam(1.0, eps=1.0)
    params, _, norm = optim.descend(optimizer, PARAMS, GRADS, optim.start(optimizer, PARAMS), 1.0)
    assert float(norm) == 5.0
    # Clipped to [0.6, 0, −0.8], then g/(|g| + 1).
    np.testing.assert_allclose(params["w"], [[1 - 0.6 / 1.6, 2.0]], rtol=1e-5)
    np.testing.assert_allclose(params["b"], [3 + 0.8 / 1.8], rtol=1e-5)


def test_polyak_by_hand():
    target = {"w": jnp.asarray([[0.0, 4.0]]), "b": jnp.asarray([-1.0])}
    moved = optim.polyak(target, PARAMS, 0.25)
    np.testing.assert_allclose(moved["w"], [[0.25, 3.5]])
    np.testing.assert_allclose(moved["b"], [0.0])
    copied = optim.polyak(target, PARAMS, jnp.float32(1.0))
    for name in PARAMS:
        np.testing.assert_array_equal(copied[name], PARAMS[name])


@pytest.mark.parametrize("way", [lambda f: f, jax.jit])
def test_rmsprop_by_hand(way):
    """Two steps: g = (1 − α)Δ², then α g + (1 − α)Δ²; θ ← θ − η Δ / √(g + ε)."""
    optimizer = optim.clipped_rmsprop(1e9, decay=0.75, eps=0.5)
    step = way(lambda p, s: optim.descend(optimizer, p, GRADS, s, jnp.float32(0.1)))
    params, state, norm = step(PARAMS, optim.start(optimizer, PARAMS))
    assert float(norm) == 5.0
    first = 0.1 * 3 / np.sqrt(0.25 * 9 + 0.5)
    np.testing.assert_allclose(params["w"], [[1 - first, 2.0]], rtol=1e-6)
    params, _, _ = step(params, state)
    second = 0.1 * 3 / np.sqrt(0.75 * 0.25 * 9 + 0.25 * 9 + 0.5)
    np.testing.assert_allclose(params["w"], [[1 - first - second, 2.0]], rtol=1e-6)


@pytest.mark.parametrize("way", [lambda f: f, jax.jit])
def test_centred_rmsprop_by_hand(way):
    """Two steps: g = (1 − ρ)Δ and n = (1 − ρ)Δ², then both again; θ ← θ − η Δ / √(n − g² + ε)."""
    optimizer = optim.clipped_centred_rmsprop(1e9, decay=0.75, eps=0.5)
    step = way(lambda p, s: optim.descend(optimizer, p, GRADS, s, jnp.float32(0.1)))
    params, state, norm = step(PARAMS, optim.start(optimizer, PARAMS))
    assert float(norm) == 5.0
    mean, square = 0.25 * 3, 0.25 * 9
    first = 0.1 * 3 / np.sqrt(square - mean**2 + 0.5)
    np.testing.assert_allclose(params["w"], [[1 - first, 2.0]], rtol=1e-6)
    params, _, _ = step(params, state)
    mean, square = 0.75 * mean + 0.25 * 3, 0.75 * square + 0.25 * 9
    second = 0.1 * 3 / np.sqrt(square - mean**2 + 0.5)
    np.testing.assert_allclose(params["w"], [[1 - first - second, 2.0]], rtol=1e-6)
