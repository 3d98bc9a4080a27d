import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fathom.ops import categorical

project = jax.jit(categorical.project)


def by_loops(prob, reward, discount, support):
    """Algorithm 1 of Bellemare et al. 2017 atom by atom, in float64; whole positions keep their mass."""
    low, high, count = support[0], support[-1], len(support)
    step = (high - low) / (count - 1)
    out = np.zeros_like(prob, dtype=float)
    for row in range(len(prob)):
        for j in range(count):
            value = min(max(reward[row] + discount[row] * support[j], low), high)
            b = (value - low) / step
            below, above = int(np.floor(b)), int(np.ceil(b))
            if below == above:
                out[row, below] += prob[row, j]
            else:
                out[row, below] += prob[row, j] * (above - b)
                out[row, above] += prob[row, j] * (b - below)
    return out


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.booleans())
def test_the_projection_is_that_of_a_loop_over_atoms(seed, whole):
    """With `whole`, rewards fall on atoms: where mass is lost if floor and ceiling are taken alone."""
    rng = np.random.default_rng(seed)
    support = np.linspace(-2.0, 4.0, 7).astype(np.float32)
    prob = rng.dirichlet(np.ones(7), size=3).astype(np.float32)
    reward = rng.integers(-3, 6, 3) if whole else rng.normal(0, 3, 3)
    discount = rng.choice([0.0, 0.9, 1.0], 3)
    got = project(*(jnp.asarray(x, jnp.float32) for x in (prob, reward, discount, support)))
    np.testing.assert_allclose(got, by_loops(prob, reward, discount, support), atol=2e-6)
    np.testing.assert_allclose(got.sum(axis=-1), 1.0, atol=2e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_the_projection_keeps_the_mean_where_nothing_is_cut(seed):
    rng = np.random.default_rng(seed)
    support = np.linspace(-10.0, 10.0, 51)
    prob = rng.dirichlet(np.full(51, 0.1), size=5)
    prob[:, :15] = prob[:, -15:] = 0.0
    prob /= prob.sum(axis=1, keepdims=True)
    reward, discount = rng.uniform(-3, 3, 5), rng.uniform(0.0, 1.0, 5)
    got = project(*(jnp.asarray(x, jnp.float32) for x in (prob, reward, discount, support)))
    np.testing.assert_allclose(got @ support, reward + discount * (prob @ support), atol=1e-4)


def test_a_terminal_step_leaves_the_reward_alone():
    support = jnp.linspace(-1.0, 1.0, 5)
    prob = jnp.full((2, 5), 0.2)
    got = project(prob, jnp.array([0.5, 0.25]), jnp.zeros(2), support)
    np.testing.assert_allclose(got, [[0, 0, 0, 1, 0], [0, 0, 0.5, 0.5, 0]], atol=1e-6)


def test_atoms_are_even_and_exact_at_both_ends():
    z = categorical.atoms(-10.0, 10.0, 51)
    assert (float(z[0]), float(z[-1]), float(z[25])) == (-10.0, 10.0, 0.0)
    np.testing.assert_allclose(np.diff(z), 0.4, atol=1e-5)


def test_cross_entropy_and_mean_by_hand():
    logits = jnp.log(jnp.array([[0.2, 0.3, 0.5]]))
    target = jnp.array([[0.5, 0.5, 0.0]])
    assert float(categorical.cross_entropy(logits, target)[0]) == pytest.approx(
        -0.5 * np.log(0.2) - 0.5 * np.log(0.3), rel=1e-5
    )
    assert float(categorical.kl(logits, target)[0]) == pytest.approx(
        0.5 * np.log(0.5 / 0.2) + 0.5 * np.log(0.5 / 0.3), rel=1e-5
    )
    assert float(categorical.kl(logits, jax.nn.softmax(logits))[0]) == pytest.approx(0.0, abs=1e-6)
    assert float(categorical.mean(logits, jnp.array([-1.0, 0.0, 2.0]))[0]) == pytest.approx(0.8, rel=1e-5)
