import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.ops import policy


def array(*values):
    return jnp.asarray(values, jnp.float32)


@pytest.fixture(params=["plain", "jit"], scope="module")
def way(request):
    return {"plain": lambda f: f, "jit": jax.jit}[request.param]


def test_the_clipping_example(way):
    """Worked example 3: ratio 1.5, ε 0.2; a good action is held at 2.4, a bad one pushed down in full."""
    good, bad = jnp.float32(2.0), jnp.float32(-2.0)
    objective = way(jax.value_and_grad(policy.clipped_surrogate))
    value, slope = objective(jnp.float32(1.5), good, 0.2)
    assert (float(value), float(slope)) == (pytest.approx(2.4), 0.0)
    value, slope = objective(jnp.float32(1.5), bad, 0.2)
    assert (float(value), float(slope)) == (pytest.approx(-3.0), pytest.approx(-2.0))


def test_clipped_surrogate_is_the_minimum_of_equation_7(way):
    ratio, advantage = jnp.meshgrid(jnp.linspace(0.0, 3.0, 31), jnp.linspace(-2.0, 2.0, 9))
    expected = jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage)
    np.testing.assert_allclose(way(policy.clipped_surrogate)(ratio, advantage, 0.2), expected, atol=1e-6)
    rows = jax.vmap(policy.clipped_surrogate, in_axes=(0, 0, None))(ratio, advantage, jnp.float32(0.2))
    np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_surrogates_gradient_at_ratio_one_is_the_advantage():
    advantage = array(2.0, 0.0, -3.0)
    gradient = jax.vmap(jax.grad(policy.clipped_surrogate), in_axes=(0, 0, None))(jnp.ones(3), advantage, 0.2)
    np.testing.assert_allclose(gradient, advantage)


def test_an_enormous_ratio_gives_no_nan():
    def objective(log_prob, advantage):
        return policy.clipped_surrogate(policy.importance_ratio(log_prob, array(0.0)[0]), advantage, 0.2)

    for log_prob in (1e4, 100.0, -100.0, -1e4):
        value, slope = jax.vmap(jax.value_and_grad(objective))(
            jnp.full(3, log_prob, jnp.float32), array(1, 0, -1)
        )
        assert not np.isnan(value).any()
        assert not np.isnan(slope).any()
    assert policy.clipped_surrogate(array(jnp.inf), array(1.0), 0.2)[0] == pytest.approx(1.2)


def test_importance_ratio():
    ratio = policy.importance_ratio(jnp.log(array(0.3, 0.5)), jnp.log(array(0.2, 0.5)))
    np.testing.assert_allclose(ratio, [1.5, 1.0], rtol=1e-6)


def test_value_losses_by_hand(way):
    value, old, target = array(3.0, 3.0, 1.1, 0.0), array(1.0, 1.0, 1.0, 1.0), array(1.0, 4.0, 2.0, 0.5)
    np.testing.assert_allclose(way(policy.value_loss)(value, target), [4.0, 1.0, 0.81, 0.25], rtol=1e-5)
    # Held within 0.5 of the old value: 1.5, 1.5, 1.1, 0.5. The larger of the two errors counts.
    clipped = way(policy.clipped_value_loss)(value, old, target, 0.5)
    np.testing.assert_allclose(clipped, [4.0, 6.25, 0.81, 0.25], rtol=1e-5)


def test_losses_take_no_gradient_through_target_and_advantage():
    one, two = jnp.float32(1.0), jnp.float32(2.0)
    assert jax.grad(policy.value_loss, argnums=(0, 1))(one, two) == (-2.0, 0.0)
    assert jax.grad(policy.clipped_value_loss, argnums=(0, 2))(one, one, two, 0.2) == (-2.0, 0.0)
    assert jax.grad(policy.reinforce_loss, argnums=(0, 1))(one, two) == (-2.0, 0.0)
    assert policy.reinforce_loss(array(-0.5), array(2.0))[0] == 1.0


def test_approx_kl_estimates_the_divergence(way):
    old, new = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    actions = np.random.default_rng(0).choice(3, 200_000, p=old)
    log_ratio = jnp.asarray(np.log(new / old)[actions], jnp.float32)
    exact = float((old * np.log(old / new)).sum())
    assert float(way(policy.approx_kl)(log_ratio)) == pytest.approx(exact, rel=0.02)


def test_approx_kl_keeps_small_ratios_and_never_goes_below_zero():
    # (e^x − 1) − x = x²/2 + x³/6: half of it at 1e-2 would be lost in exp(x) − 1 − x.
    assert float(policy.approx_kl(array(1e-2))) == pytest.approx(5.0167e-5, rel=1e-3)
    assert float(policy.approx_kl(array(0.0))) == 0.0
    assert not np.isnan(policy.approx_kl(array(-1e4, 1e4)))


def test_clip_fraction():
    assert float(policy.clip_fraction(array(0.5, 0.9, 1.0, 1.3), 0.2)) == 0.5


def test_normalized_advantages_by_hand(way):
    result = way(policy.normalize_advantages)(array(1.0, 3.0))
    np.testing.assert_allclose(result, [-1.0, 1.0], rtol=1e-6)
    grid = jax.random.normal(jax.random.key(0), (16, 4)) * 7 + 1000
    result = np.asarray(way(policy.normalize_advantages)(grid), np.float64)
    assert result.shape == (16, 4)
    assert result.mean() == pytest.approx(0.0, abs=1e-6)
    assert result.std() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("eps", [1e-8, 0.0])
@pytest.mark.parametrize("same", [[3.0], [1e8] * 7, [0.1] * 3, [0.0, 0.0], [-1e-30] * 5])
def test_equal_advantages_give_zeros(same, eps):
    """Trap 14: a minibatch of one must not be NaN."""
    np.testing.assert_array_equal(policy.normalize_advantages(array(*same), eps), np.zeros(len(same)))


def test_normalized_advantages_under_a_mask_are_those_of_the_rest_alone():
    numbers = [5.0, 1.0, 900.0, 3.0, float("nan")]
    mask = jnp.asarray([False, True, False, True, False])
    result = jax.jit(policy.normalize_advantages)(array(*numbers), mask=mask)
    np.testing.assert_allclose(np.asarray(result)[[1, 3]], [-1.0, 1.0], rtol=1e-6)
    nobody = policy.normalize_advantages(array(1.0, 2.0), mask=jnp.zeros(2, jnp.bool_))
    np.testing.assert_array_equal(nobody, [0.0, 0.0])
