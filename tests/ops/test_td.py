import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathom.ops import td

inf = jnp.inf


def array(*values):
    return jnp.asarray(values, jnp.float32)


@pytest.fixture(params=["plain", "jit", "vmap"], scope="module")
def way(request):
    return {"plain": lambda f: f, "jit": jax.jit, "vmap": jax.vmap}[request.param]


def test_the_grid_example(way):
    """Worked example 2: target 3.5, TD error 0.5, new value 3.05."""
    q_here, q_next = array(2.0, 3.0, 1.5, 1.0), array(1.0, 0.0, 5.0, 2.0)
    target = way(td.q_target)(array(-1.0), array(0.9), q_next[None])[0]
    error = target - q_here[1]
    assert float(target) == pytest.approx(3.5)
    assert float(error) == pytest.approx(0.5)
    assert float(q_here[1] + 0.1 * error) == pytest.approx(3.05)


def test_targets_by_hand(way):
    reward, discount = array(1.0, 1.0, 1.0), array(0.5, 0.25, 0.0)
    next_q = array([1, 3, 2], [4, 8, 6], [5, 5, 5])
    mask = jnp.asarray([[True, False, True], [True, True, True], [True, True, True]])
    np.testing.assert_allclose(way(td.q_target)(reward, discount, next_q), [2.5, 3.0, 1.0])
    np.testing.assert_allclose(way(td.q_target)(reward, discount, next_q, mask), [2.0, 3.0, 1.0])
    np.testing.assert_allclose(way(td.td_target)(reward, discount, array(2, 4, inf)), [2.0, 2.0, 1.0])
    # The online network prefers [1, 0, 0]; with the mask [2, 0, 0]: the target network's values count.
    online = array([0, 9, 1], [9, 0, 0], [9, 0, 0])
    np.testing.assert_allclose(way(td.double_q_target)(reward, discount, next_q, online), [2.5, 2.0, 1.0])
    np.testing.assert_allclose(
        way(td.double_q_target)(reward, discount, next_q, online, mask), [2.0, 2.0, 1.0]
    )


@given(st.integers(0, 10**6))
def test_masked_targets_against_a_loop(seed):
    rng = np.random.default_rng(seed)
    reward, discount = rng.normal(size=(2, 6)).astype(np.float32)
    target_q, online_q = rng.normal(size=(2, 6, 5)).astype(np.float32)
    mask = rng.random((6, 5)) < 0.5
    mask[np.arange(6), rng.integers(0, 5, 6)] = True
    single, double = [], []
    for i in range(6):
        legal = [a for a in range(5) if mask[i, a]]
        best = max(legal, key=lambda a: online_q[i, a])
        single.append(reward[i] + discount[i] * max(target_q[i, a] for a in legal))
        double.append(reward[i] + discount[i] * target_q[i, best])
    args = [jnp.asarray(x) for x in (reward, discount, target_q, online_q, mask)]
    np.testing.assert_allclose(td.q_target(*args[:3], args[4]), single, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(td.double_q_target(*args), double, rtol=1e-5, atol=1e-5)


def test_no_legal_action_is_minus_infinity_unless_the_task_is_over():
    q, mask = jnp.ones((2, 3)), jnp.zeros((2, 3), bool)
    reward, discount = array(1.0, 1.0), array(0.9, 0.0)
    for target in (
        td.q_target(reward, discount, q, mask),
        td.double_q_target(reward, discount, q, q, mask),
    ):
        np.testing.assert_array_equal(target, [-inf, 1.0])


def test_targets_carry_no_gradient():
    one = array(1.0)
    q = array([1.0, 2.0])
    assert not jax.grad(lambda v: td.td_target(one, one, v).sum())(one).any()
    assert not jax.grad(lambda q: td.q_target(one, one, q).sum())(q).any()
    assert not jax.grad(lambda q: td.double_q_target(one, one, q, q).sum())(q).any()


def test_huber_and_squared(way):
    error = array(-3.0, -0.5, 0.0, 2.0)
    np.testing.assert_allclose(way(td.huber)(error), [2.5, 0.125, 0.0, 1.5])
    np.testing.assert_allclose(way(td.squared)(error), [4.5, 0.125, 0.0, 2.0])
    np.testing.assert_allclose(td.huber(error, 2.0), [4.0, 0.125, 0.0, 2.0])
    np.testing.assert_allclose(td.huber(error, jnp.float32(1e6)), td.squared(error))


def test_hubers_gradient_is_the_error_limited_to_delta():
    error = array(-1e30, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 1e30, inf)
    gradient = jax.vmap(jax.grad(td.huber))(error)
    np.testing.assert_allclose(gradient, jnp.clip(error, -1.0, 1.0))


def test_quantile_huber_by_hand(way):
    """τ = ¼ and ¾; errors of θ = [0, 2] to y = 1: +1 and −1, each of Huber loss ½ at δ = 1."""
    loss = way(td.quantile_huber)(array([0.0, 2.0]), array([1.0]))
    np.testing.assert_allclose(loss, [(0.25 * 0.5 + 0.25 * 0.5) / 2])
    loss = way(td.quantile_huber)(array([2.0, 0.0]), array([1.0]))
    np.testing.assert_allclose(loss, [(0.75 * 0.5 + 0.75 * 0.5) / 2])


@given(st.integers(0, 10**6))
def test_trap_11_quantile_huber_against_a_loop_with_sizes_that_all_differ(seed):
    rng = np.random.default_rng(seed)
    quantiles, target = rng.normal(size=(2, 3, 5)) * 2, rng.normal(size=(2, 3, 7)) * 2
    wanted = np.zeros((2, 3))
    for place in np.ndindex(2, 3):
        for m in range(5):
            for i in range(7):
                u = target[place][i] - quantiles[place][m]
                size = 0.5 * u * u if abs(u) <= 0.7 else 0.7 * (abs(u) - 0.35)
                wanted[place] += abs((2 * m + 1) / 10 - (u < 0)) * size / 0.7 / 35
    got = td.quantile_huber(jnp.asarray(quantiles, jnp.float32), jnp.asarray(target, jnp.float32), 0.7)
    np.testing.assert_allclose(got, wanted, rtol=1e-4)


def test_quantile_huber_is_least_at_the_quantiles():
    """Of 1, …, 100 with a small δ: 16.7, 50 and 83.3 at τ = 1/6, 1/2, 5/6."""
    target = jnp.arange(1.0, 101.0)
    slope = jax.jit(jax.grad(lambda q: td.quantile_huber(q, target, 0.01).sum()))
    quantiles = jnp.full(3, 30.0)
    for step in range(400):
        quantiles = quantiles - 200.0 / (1.0 + 0.05 * step) * slope(quantiles)
    np.testing.assert_allclose(quantiles, [16.7, 50.5, 83.3], atol=1.0)
