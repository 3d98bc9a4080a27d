from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fathom.data import sum_tree
from fathom.data.sum_tree import FAN

SIZES = (1, 5, FAN, FAN + 1, 300, FAN**2 + 3)

write = jax.jit(sum_tree.write)
draw = jax.jit(sum_tree.draw)


def filled(size: int, weight: np.ndarray) -> sum_tree.SumTree:
    return write(sum_tree.init(size), jnp.arange(size), jnp.asarray(weight, jnp.float32))


def weights_of(size: int, seed: int, empty: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weight = rng.exponential(size=size).astype(np.float32) ** 3
    weight[rng.random(size) < empty] = 0.0
    weight[rng.integers(size)] = 1.0
    return weight


@pytest.mark.parametrize("size", SIZES)
def test_every_node_is_the_sum_of_those_below(size):
    weight = weights_of(size, size)
    tree = filled(size, weight)
    np.testing.assert_array_equal(tree.levels[0][:size], weight)
    for below, level in zip(tree.levels, tree.levels[1:], strict=False):
        sums = np.asarray(below).reshape(-1, FAN).sum(axis=1)
        np.testing.assert_allclose(level[: len(sums)], sums, rtol=1e-6)
        assert not np.any(level[len(sums) :])
    np.testing.assert_allclose(sum_tree.total(tree), weight.sum(), rtol=1e-6)
    assert len(tree.levels[-1]) <= FAN


@pytest.mark.parametrize("size", SIZES)
def test_an_evenly_spread_draw_takes_each_item_in_proportion(size):
    """Of u = (i + ½)/n, the items between two sums of weights are as many as these differ."""
    weight = weights_of(size, size)
    n = 20_000
    index = np.asarray(draw(filled(size, weight), (jnp.arange(n, dtype=jnp.float32) + 0.5) / n))
    found = np.bincount(index, minlength=size)
    np.testing.assert_allclose(found, n * weight / weight.sum(), atol=1.5)
    assert not found[weight == 0.0].any()
    assert np.all(np.diff(index) >= 0)


def test_draws_follow_the_weights():
    """χ² of 50,000 draws."""
    weight = weights_of(300, 0)
    uniform = jax.random.uniform(jax.random.key(0), (50_000,))
    found = np.bincount(np.asarray(draw(filled(300, weight), uniform)), minlength=300)
    expected = weight.astype(float) / weight.sum() * 50_000
    many = expected >= 5
    rest = [found[~many].sum(), expected[~many].sum()]
    observed = np.append(found[many], rest[0])
    wanted = np.append(expected[many], rest[1])
    assert stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 1e-3


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_any_order_of_writes_gives_the_tree_of_the_last_values(seed):
    rng = np.random.default_rng(seed)
    size = 300
    tree, weight = filled(size, np.ones(size)), np.ones(size, np.float32)
    for _ in range(4):
        index = rng.choice(size, 16, replace=False)
        value = rng.exponential(size=16).astype(np.float32) * 10.0 ** rng.integers(-3, 4)
        tree = write(tree, jnp.asarray(index), jnp.asarray(value))
        weight[index] = value
    whole = filled(size, weight)
    for one, other in zip(tree.levels, whole.levels, strict=True):
        np.testing.assert_array_equal(one, other)


def test_of_an_item_named_twice_the_larger_weight_counts():
    for weight in ([2.0, 1.0, 0.5], [1.0, 2.0, 0.5]):
        tree = write(filled(40, np.full(40, 5.0)), jnp.array([3, 3, 4]), jnp.asarray(weight))
        assert (float(tree.levels[0][3]), float(tree.levels[0][4])) == (2.0, 0.5)
        assert float(sum_tree.total(tree)) == 38 * 5.0 + 2.5


def test_the_ends_of_the_unit_interval_and_rounding_never_reach_an_item_of_weight_0():
    size = FAN**2 + 3
    for seed in range(20):
        weight = weights_of(size, seed, empty=0.9) * 10.0 ** np.random.default_rng(seed).integers(-6, 6)
        tree = filled(size, weight)
        uniform = jnp.asarray([0.0, 1e-30, 0.5, 1.0 - 2.0**-24], jnp.float32)
        assert np.all(weight[np.asarray(draw(tree, uniform))] > 0.0)


def test_seeds_side_by_side_have_trees_of_their_own():
    weight = jnp.stack([jnp.asarray(weights_of(40, s)) for s in (0, 1)])
    make = partial(sum_tree.write, sum_tree.init(40), jnp.arange(40))
    both = jax.jit(jax.vmap(make))(weight)
    for seed in (0, 1):
        alone = filled(40, np.asarray(weight[seed]))
        for one, other in zip(both.levels, alone.levels, strict=True):
            np.testing.assert_array_equal(one[seed], other)
