import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from fathom.ops.sampling import choose


@pytest.fixture(scope="module")
def compiled():
    return jax.jit(choose)


def test_by_hand(compiled):
    weight = jnp.asarray([[1.0, 0.0, 2.0, 1.0]] * 6)
    uniform = jnp.asarray([0.0, 0.2, 0.25, 0.7, 0.75, 0.999])
    for program in (choose, compiled, jax.vmap(choose)):
        np.testing.assert_array_equal(program(weight, uniform), [0, 0, 2, 2, 3, 3])
    assert choose(weight, uniform).dtype == jnp.int32


@given(st.integers(0, 10**6))
def test_a_weight_of_zero_is_never_drawn(compiled, seed):
    """Not even at the edges of the uniform, nor when rounding moves the sum."""
    rng = np.random.default_rng(seed)
    weight = (10.0 ** rng.uniform(-12, 3, (64, 40)) * (rng.random((64, 40)) < 0.3)).astype(np.float32)
    weight[np.arange(64), rng.integers(0, 40, 64)] = 1.0
    weight /= weight.sum(-1, keepdims=True)
    uniform = rng.choice([0.0, 2.0**-24, 0.5, 1 - 2.0**-23, 1 - 2.0**-24, rng.random()], 64)
    index = np.asarray(compiled(jnp.asarray(weight), jnp.asarray(uniform, jnp.float32)))
    assert (weight[np.arange(64), index] > 0).all()


def test_frequencies():
    weight = jnp.asarray([0.5, 1.5, 0.0, 3.0])
    uniform = jax.random.uniform(jax.random.key(1), (50_000,))
    counts = np.bincount(choose(jnp.broadcast_to(weight, (50_000, 4)), uniform), minlength=4)
    assert counts[2] == 0
    assert chisquare(counts[[0, 1, 3]], 50_000 * np.array([0.1, 0.3, 0.6])).pvalue > 1e-3


def test_many_indices_and_more_batch_axes(compiled):
    weight = jnp.zeros((2, 3, 1000)).at[..., 777].set(0.25)
    np.testing.assert_array_equal(compiled(weight, jnp.full((2, 3), 0.9)), np.full((2, 3), 777))


def test_nothing_to_choose_from_is_minus_one():
    weight = jnp.asarray([[0.0, 0.0], [jnp.nan, 1.0], [0.0, 1.0]])
    np.testing.assert_array_equal(choose(weight, jnp.zeros(3)), [-1, -1, 1])
