import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathom.core.errors import FathomError
from fathom.core.types import Masked
from fathom.ops.statistics import RunningStats, explained_variance, global_norm


@pytest.fixture(scope="module")
def join():
    return jax.jit(lambda stats, batch: stats.update(batch))


def test_by_hand():
    stats = RunningStats.init(jnp.zeros(2)).update(jnp.asarray([[1.0, 10.0], [3.0, 10.0]]))
    np.testing.assert_allclose(stats.mean, [2.0, 10.0])
    np.testing.assert_allclose(stats.var, [1.0, 0.0])
    stats = stats.update(jnp.asarray([[5.0, 10.0]]))
    np.testing.assert_allclose(stats.mean, [3.0, 10.0])
    np.testing.assert_allclose(stats.var, [8 / 3, 0.0], rtol=1e-6)
    assert float(stats.count) == 3.0
    np.testing.assert_allclose(
        stats.normalize(jnp.asarray([5.0, 10.0])), [2 / (8 / 3) ** 0.5, 0.0], rtol=1e-6
    )
    np.testing.assert_allclose(
        stats.scale(jnp.asarray([[-5.0, 0.0]])), [[-5 / (8 / 3) ** 0.5, 0.0]], rtol=1e-6
    )


@given(st.integers(0, 10**6), st.sampled_from([0.0, 1e3, -1e6]))
def test_any_split_gives_the_moments_of_the_whole(join, seed, offset):
    """With an offset of a million standard deviations too: sums of squares would have no digits left."""
    rng = np.random.default_rng(seed)
    data = (rng.normal(size=(60, 3)) + offset).astype(np.float32)
    stats = RunningStats.init(jnp.zeros(3))
    for part in (data[:20].reshape(4, 5, 3), data[20:40].reshape(4, 5, 3), data[40:].reshape(4, 5, 3)):
        stats = join(stats, jnp.asarray(part))
    exact = data.astype(np.float64)
    spread = exact.std(0)
    assert (np.abs(stats.mean - exact.mean(0)) < 1e-5 + 1e-7 * abs(offset)).all()
    np.testing.assert_allclose(
        stats.normalize(jnp.asarray(data)), (exact - exact.mean(0)) / spread, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(np.sqrt(stats.var), spread, rtol=1e-5)
    assert float(stats.count) == 60


def test_long_runs_stay_exact(join):
    rng = np.random.default_rng(0)
    data = (5e3 + rng.normal(size=(400, 256, 1))).astype(np.float32)
    stats = RunningStats.init(jnp.zeros(1))
    for part in data:
        stats = join(stats, jnp.asarray(part))
    exact = data.astype(np.float64)
    assert float(stats.mean[0]) == pytest.approx(exact.mean(), abs=5e-4)
    assert float(stats.var[0]) == pytest.approx(exact.var(), rel=1e-4)


def test_nothing_seen_changes_nothing():
    x = jnp.asarray([[3.0, -4.0]])
    stats = RunningStats.init(jnp.zeros(2))
    np.testing.assert_allclose(stats.normalize(x), x)
    np.testing.assert_allclose(stats.scale(x), x)


def test_clip():
    stats = RunningStats.init(jnp.zeros(1))
    np.testing.assert_array_equal(stats.normalize(jnp.asarray([[50.0], [-50.0]])), [[10.0], [-10.0]])
    np.testing.assert_array_equal(stats.normalize(jnp.asarray([50.0]), clip=5.0), [5.0])
    np.testing.assert_array_equal(stats.scale(jnp.asarray([-50.0]), clip=jnp.float32(2.0)), [-2.0])


def test_trees_and_leaves_that_are_not_float():
    """An action mask that travels with the observation is passed on as it is."""
    batch = Masked({"a": jnp.asarray([[1.0], [3.0]]), "b": jnp.asarray([0.0, 4.0])}, jnp.ones((2, 4), bool))
    stats = RunningStats.init(jax.tree.map(lambda x: x[0], batch)).update(batch)
    assert float(stats.mean.obs["a"][0]) == 2.0
    assert float(stats.var.obs["b"]) == 4.0
    result = stats.normalize(batch)
    np.testing.assert_allclose(result.obs["b"], [-1.0, 1.0])
    assert result.mask is batch.mask


def test_one_sample_without_leading_axes_and_extreme_values(join):
    stats = RunningStats.init(jnp.zeros(2)).update(jnp.asarray([7.0, -2.0]))
    np.testing.assert_allclose(stats.mean, [7.0, -2.0])
    np.testing.assert_allclose(stats.var, [0.0, 0.0])
    stats = RunningStats.init(jnp.zeros(1))
    for value in (1e30, -1e30, 1e30):
        stats = join(stats, jnp.full((3, 1), value))
    assert not np.isnan(stats.normalize(jnp.asarray([1e30]))).any()


def test_vmapped_over_seeds(join):
    data = jax.random.normal(jax.random.key(0), (3, 8, 2))
    start = jax.vmap(lambda _: RunningStats.init(jnp.zeros(2)))(jnp.arange(3))
    many = jax.vmap(lambda s, x: s.update(x))(start, data)
    for i in range(3):
        np.testing.assert_allclose(many.var[i], join(RunningStats.init(jnp.zeros(2)), data[i]).var, rtol=1e-6)


def test_wrong_batches_are_refused():
    stats = RunningStats.init((jnp.zeros(2), jnp.zeros(())))
    with pytest.raises(FathomError, match=r"\(3,\), \(4,\)"):
        stats.update((jnp.ones((3, 2)), jnp.ones(4)))
    with pytest.raises(FathomError, match="no samples"):
        stats.update((jnp.ones((0, 2)), jnp.ones(0)))


def test_explained_variance():
    target = jnp.asarray([1.0, 2.0, 3.0, 4.0])
    program = jax.jit(explained_variance)
    assert float(program(target, target)) == 1.0
    assert float(program(target + 5, target)) == 1.0
    assert float(program(jnp.zeros(4), target)) == 0.0
    assert float(program(-target, target)) == -3.0
    # Residuals ±0.5: 1 − 0.25/1.25.
    assert float(program(target + jnp.asarray([0.5, -0.5, 0.5, -0.5]), target)) == pytest.approx(0.8)
    assert float(program(target, jnp.ones(4))) == 0.0


def test_explained_variance_under_a_mask():
    target, mask = jnp.asarray([1.0, 2.0, 99.0, 3.0, 4.0]), jnp.asarray([True, True, False, True, True])
    near = target + jnp.asarray([0.5, -0.5, 7.0, 0.5, -0.5])
    assert float(jax.jit(explained_variance)(near, target, mask)) == pytest.approx(0.8)
    assert np.isfinite(float(explained_variance(near, target, ~mask & mask)))


def test_global_norm():
    tree = {"w": jnp.asarray([[3.0, 0.0]]), "b": jnp.asarray(4.0), "step": jnp.asarray(9)}
    assert float(jax.jit(global_norm)(tree)) == 5.0
    assert float(global_norm({})) == 0.0


@pytest.mark.parametrize("size", [1024, 1025, 4096, 10_007])
def test_global_norm_of_large_arrays_counts_every_element(size):
    x = jax.random.normal(jax.random.key(size), (size,))
    expected = np.sqrt(np.square(np.asarray(x, np.float64)).sum())
    norms = [float(f({"x": x})) for f in (global_norm, jax.jit(global_norm))]
    np.testing.assert_allclose(norms, expected, rtol=1e-6)
    batched = jax.vmap(global_norm)(jnp.stack([x, 2.0 * x]))
    np.testing.assert_allclose(batched, [expected, 2 * expected], rtol=1e-6)


def test_a_sample_never_weighs_nothing():
    """Beyond 10⁶ updates a variance would shrink by rounding, and what is new would go unheard."""
    stats = RunningStats.init(jnp.zeros(()))
    stats = dataclasses.replace(stats, count=jnp.float32(1e9))

    def step(stats, _):
        return stats.update(jnp.ones((1,))), None

    after, _ = jax.jit(lambda s: jax.lax.scan(step, s, None, length=100_000))(stats)
    np.testing.assert_allclose(after.mean, 1.0 - np.exp(-0.1), rtol=1e-3)
