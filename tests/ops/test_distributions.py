import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats as sp
from scipy.stats import chisquare

from fathom.core.errors import FathomError
from fathom.ops.distributions import (
    Bernoulli,
    Categorical,
    DiagGaussian,
    MultiCategorical,
    TanhGaussian,
    check_mask,
)

KEY = jax.random.key(0)
LOGITS = jnp.log(jnp.asarray([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]]))
MASK = jnp.asarray([[True, True, False], [False, True, False]])


def array(*values):
    return jnp.asarray(values, jnp.float32)


def stacked(make, rows=3, size=4):
    """Two random distributions of a kind, for comparisons."""
    keys = jax.random.split(jax.random.key(7), 4)
    a, b, c, d = (jax.random.normal(k, (rows, size)) for k in keys)
    return make(a, 0.3 * b), make(c, 0.3 * d)


KINDS = {
    "categorical": lambda a, b: Categorical(a),
    "masked": lambda a, b: Categorical(a, jnp.arange(4).reshape(1, 4) != jnp.arange(3).reshape(3, 1)),
    "multi": lambda a, b: MultiCategorical(a, (1, 3), None),
    "bernoulli": lambda a, b: Bernoulli(a),
    "gaussian": DiagGaussian,
    "tanh": TanhGaussian,
}


@pytest.fixture(params=KINDS, scope="module")
def pair(request):
    return stacked(KINDS[request.param])


def test_sample_and_log_prob_agree(pair):
    dist, _ = pair
    action, log_prob = dist.sample_and_log_prob(KEY)
    np.testing.assert_array_equal(action, dist.sample(KEY))
    np.testing.assert_allclose(log_prob, dist.log_prob(action), rtol=1e-4, atol=1e-5)
    assert action.shape[0] == 3
    assert log_prob.shape == (3,)


def test_entropy_and_kl_are_means_over_samples(pair):
    dist, other = pair
    keys = jax.random.split(KEY, 20_000)

    @jax.jit
    @jax.vmap
    def draw(key):
        action, own = dist.sample_and_log_prob(key)
        return own, other.log_prob(action)

    own, foreign = (np.asarray(x, np.float64) for x in draw(keys))
    for exact, values in ((dist.entropy(), -own), (dist.kl(other), own - foreign)):
        error = values.std(0) / len(values) ** 0.5
        assert (np.abs(values.mean(0) - np.asarray(exact)) < 5 * error + 1e-4).all()


def test_kl_to_itself_is_zero_and_compiling_changes_nothing(pair):
    dist, other = pair
    np.testing.assert_allclose(dist.kl(dist), np.zeros(3), atol=1e-6)
    summary = lambda d, e: (d.sample(KEY), d.mode(), d.entropy(), d.kl(e))  # noqa: E731
    for plain, compiled in zip(summary(dist, other), jax.jit(summary)(dist, other), strict=True):
        np.testing.assert_allclose(plain, compiled, rtol=1e-5, atol=1e-6)


def test_vmapped_rows_are_the_batch(pair):
    dist, other = pair
    action = dist.sample(KEY)
    rows = jax.vmap(lambda d, e, a: (d.log_prob(a), d.entropy(), d.kl(e), d.mode()))(dist, other, action)
    whole = (dist.log_prob(action), dist.entropy(), dist.kl(other), dist.mode())
    for row, expected in zip(rows, whole, strict=True):
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)


def test_categorical_by_hand():
    dist = Categorical(LOGITS)
    np.testing.assert_allclose(dist.log_prob(jnp.asarray([2, 0])), np.log([0.7, 0.5]), rtol=1e-6)
    np.testing.assert_allclose(dist.entropy(), [0.801819, 1.5 * np.log(2)], rtol=1e-5)
    np.testing.assert_array_equal(dist.mode(), [2, 0])
    assert dist.mode().dtype == dist.sample(KEY).dtype == jnp.int32
    uniform = Categorical(jnp.zeros((2, 3)))
    np.testing.assert_allclose(uniform.kl(dist)[0], np.log([10 / 3, 5 / 3, 10 / 21]).mean(), rtol=1e-5)
    assert np.isnan(dist.log_prob(jnp.asarray([3, -1]))).all()


def test_categorical_frequencies():
    dist = Categorical(jnp.broadcast_to(LOGITS[0], (30_000, 3)))
    counts = np.bincount(dist.sample(KEY), minlength=3)
    assert chisquare(counts, 30_000 * np.array([0.1, 0.2, 0.7])).pvalue > 1e-3


def test_masked_categorical_by_hand():
    dist = Categorical(LOGITS, MASK)
    np.testing.assert_allclose(dist.probs, [[1 / 3, 2 / 3, 0], [0, 1, 0]], rtol=1e-6)
    assert (np.asarray(dist.probs)[~np.asarray(MASK)] == 0).all()
    np.testing.assert_allclose(dist.entropy(), [np.log(3) - 2 / 3 * np.log(2), 0.0], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(dist.mode(), [1, 1])
    np.testing.assert_array_equal(dist.log_prob(jnp.asarray([2, 0])), [-np.inf, -np.inf])
    # Nothing is lost on the way to a wider distribution; the way back meets impossible actions.
    np.testing.assert_allclose(dist.kl(Categorical(LOGITS)), -np.log([0.3, 0.25]), rtol=1e-5)
    assert np.isposinf(Categorical(LOGITS).kl(dist)).all()


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e38])
@pytest.mark.parametrize("legal", [1, 2, 4000])
def test_masked_numbers_and_gradients_are_finite(legal, scale):
    """Trap 14: one legal action, and thousands."""
    size = 5000
    logits = scale * jax.random.uniform(KEY, (2, size), minval=-1.0)
    mask = jnp.stack([jnp.arange(size) < legal, jnp.arange(size) >= size - legal])

    @jax.jit
    def numbers(logits):
        dist = Categorical(logits, mask)
        action, log_prob = dist.sample_and_log_prob(KEY)
        return dist.entropy().sum() + log_prob.sum() + dist.kl(Categorical(0.5 * logits, mask)).sum(), action

    (value, action), gradient = jax.value_and_grad(numbers, has_aux=True)(logits)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient)[~np.asarray(mask)].any()
    assert np.asarray(mask)[np.arange(2), action].all()


def test_no_legal_action_shows():
    dist = Categorical(LOGITS, jnp.asarray([[False] * 3, [True] * 3]))
    assert np.asarray(dist.sample(KEY))[0] == -1
    assert np.asarray(dist.mode())[0] == -1
    _, log_prob = dist.sample_and_log_prob(KEY)
    for bad in (log_prob, dist.log_prob(jnp.asarray([1, 1])), dist.entropy(), dist.kl(Categorical(LOGITS))):
        assert np.isnan(bad[0])
        assert np.isfinite(bad[1])


def test_categorical_agrees_with_float64():
    logits = 30 * jax.random.normal(KEY, (50, 6))
    exact = np.asarray(logits, np.float64)
    log_p = exact - np.logaddexp.reduce(exact, axis=-1, keepdims=True)
    dist = Categorical(logits)
    np.testing.assert_allclose(dist.log_probs, log_p, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dist.entropy(), -(np.exp(log_p) * log_p).sum(-1), rtol=1e-4, atol=1e-5)


def test_multi_categorical_is_its_parts():
    logits = jax.random.normal(KEY, (2, 5))
    mask = jnp.asarray([[True, False, True, True, False]] * 2)
    dist, other = MultiCategorical(logits, (2, 3), mask), MultiCategorical(2 * logits, (2, 3), mask)
    parts = Categorical(logits[:, :2], mask[:, :2]), Categorical(logits[:, 2:], mask[:, 2:])
    others = Categorical(2 * logits[:, :2], mask[:, :2]), Categorical(2 * logits[:, 2:], mask[:, 2:])
    action = jnp.asarray([[0, 1], [0, 0]])
    np.testing.assert_allclose(
        dist.log_prob(action), parts[0].log_prob(action[:, 0]) + parts[1].log_prob(action[:, 1])
    )
    np.testing.assert_allclose(dist.entropy(), parts[0].entropy() + parts[1].entropy())
    np.testing.assert_allclose(
        dist.kl(other), sum(p.kl(q) for p, q in zip(parts, others, strict=True)), rtol=1e-5
    )
    np.testing.assert_array_equal(dist.mode(), jnp.stack([p.mode() for p in parts], -1))
    sample = dist.sample(KEY)
    assert sample.shape == (2, 2)
    assert sample.dtype == jnp.int32
    np.testing.assert_array_equal(sample[:, 0], [0, 0])


def test_multi_categorical_components_are_independent():
    dist = MultiCategorical(jnp.zeros((20_000, 4)), (2, 2))
    counts = np.bincount(np.asarray(dist.sample(KEY)) @ np.array([2, 1]), minlength=4)
    assert chisquare(counts).pvalue > 1e-3


def test_multi_categorical_names_the_right_number_of_logits():
    with pytest.raises(FathomError, match=r"4 logits for nvec \(2, 3\); give 5"):
        MultiCategorical(jnp.zeros((1, 4)), (2, 3))


def test_bernoulli_by_hand():
    dist = Bernoulli(jnp.log(array(3.0, 1.0, 1 / 3)))
    bits = jnp.asarray([1, 0, 0], jnp.int8)
    np.testing.assert_allclose(dist.log_prob(bits), np.log(0.75 * 0.5 * 0.75), rtol=1e-6)
    np.testing.assert_allclose(dist.entropy(), 2 * sp.bernoulli(0.75).entropy() + np.log(2), rtol=1e-5)
    np.testing.assert_array_equal(dist.mode(), [1, 0, 0])
    assert dist.mode().dtype == dist.sample(KEY).dtype == jnp.int8


def test_bernoulli_is_finite_at_extreme_logits():
    def numbers(logits, action):
        dist = Bernoulli(logits)
        return dist.log_prob(action).sum() + dist.entropy().sum() + dist.kl(Bernoulli(0.5 * logits)).sum()

    logits = array([-1e30, -200.0, 0.0, 200.0, 1e30])
    likely = (logits > 0).astype(jnp.int8)
    value, gradient = jax.value_and_grad(numbers)(logits, likely)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_gaussian_agrees_with_scipy():
    mean, log_std = array([0.5, -2.0], [3.0, 0.0]), array(0.3, -1.0)
    dist = DiagGaussian(mean, log_std)
    action = array([0.0, -2.5], [4.0, 0.1])
    exact = sp.norm(np.asarray(mean), np.exp(np.asarray(log_std)))
    np.testing.assert_allclose(dist.log_prob(action), exact.logpdf(np.asarray(action)).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(dist.entropy(), exact.entropy().sum(-1), rtol=1e-6)
    np.testing.assert_array_equal(dist.mode(), mean)
    wide = DiagGaussian(jnp.zeros((2, 2)), jnp.zeros(2))
    # Σ −log σ + (σ² + μ²)/2 − ½
    variance = np.exp(2 * np.asarray(log_std))
    by_hand = (-np.asarray(log_std) + (variance + np.asarray(mean) ** 2) / 2 - 0.5).sum(-1)
    np.testing.assert_allclose(dist.kl(wide), by_hand, rtol=1e-5)


def test_gaussian_samples_have_its_moments():
    dist = DiagGaussian(jnp.broadcast_to(array(2.0, -1.0), (40_000, 2)), jnp.log(array(0.5, 3.0)))
    sample = np.asarray(dist.sample(KEY))
    np.testing.assert_allclose(sample.mean(0), [2.0, -1.0], atol=0.06)
    np.testing.assert_allclose(sample.std(0), [0.5, 3.0], rtol=0.02)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.3), (0.5, 0.8), (-1.5, 0.5)])
def test_tanh_density_integrates_to_one(mean, std):
    """Trap 7: over the box, and by the inverting log_prob."""
    action = np.linspace(-1, 1, 40_001)[1:-1]
    dist = TanhGaussian(jnp.full((action.size, 1), mean), jnp.log(array(std)))
    density = np.exp(np.asarray(dist.log_prob(jnp.asarray(action, jnp.float32)[:, None]), np.float64))
    assert np.trapezoid(density, action) == pytest.approx(1.0, abs=1e-3)


def exact_tanh_log_prob(u, mean, std):
    """In float64, the slope of tanh as 1/cosh²."""
    log_cosh = np.logaddexp(u, -u) - np.log(2.0)
    return sp.norm(mean, std).logpdf(u) + 2 * log_cosh


@pytest.mark.parametrize("mean", [0.0, 0.1, -3.0, 10.0, -20.0, 20.0])
@pytest.mark.parametrize("std", [0.1, 1.0, 7.0])
def test_tanh_log_prob_agrees_with_float64(mean, std):
    u = (mean + std * np.linspace(-4, 4, 81)).astype(np.float32)
    dist = TanhGaussian(jnp.full((81, 1), mean), jnp.log(array(std)))
    log_prob = dist.log_prob_pre_tanh(jnp.asarray(u)[:, None])
    exact = exact_tanh_log_prob(u.astype(np.float64), mean, np.exp(np.float64(np.log(np.float32(std)))))
    # u itself is known to 1e-6 at 20; in units of 0.1 and squared that is what remains.
    np.testing.assert_allclose(log_prob, exact, rtol=2e-5, atol=3e-4 if std == 0.1 else 2e-5)


def test_tanh_keeps_what_was_before():
    dist = TanhGaussian(jnp.full((1000, 2), 20.0), array(0.0, 1.0))
    action, log_prob = dist.sample_and_log_prob(KEY)
    u = dist.sample_pre_tanh(KEY)
    np.testing.assert_array_equal(action, jnp.tanh(u))
    np.testing.assert_array_equal(log_prob, dist.log_prob_pre_tanh(u))
    # Actions are the last floats before 1, yet their densities differ: an inversion cannot tell them apart.
    assert len(np.unique(action)) <= 4
    assert np.min(action) > 1.0 - 1e-6
    assert len(np.unique(log_prob)) > 900


def test_tanh_numbers_and_gradients_are_finite():
    def numbers(mean, log_std):
        dist = TanhGaussian(mean, log_std)
        _, log_prob = dist.sample_and_log_prob(KEY)
        edge = dist.log_prob(jnp.ones_like(mean)) + dist.log_prob(-jnp.ones_like(mean))
        return (log_prob + dist.entropy() + dist.kl(TanhGaussian(0.5 * mean, 0.5 * log_std)) + edge).sum()

    mean, log_std = jnp.meshgrid(array(-100.0, -20.0, 0.0, 20.0, 100.0), array(-10.0, -5.0, 0.0, 2.0, 5.0))
    value, gradients = jax.jit(jax.value_and_grad(numbers, argnums=(0, 1)))(mean, log_std)
    assert np.isfinite(value)
    assert np.isfinite(gradients).all()


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.0, 0.05), (-2.0, 3.0), (0.3, 8.0), (20.0, 1.0)])
def test_tanh_entropy_agrees_with_fine_quadrature(mean, std):
    u = mean + std * np.linspace(-9, 9, 200_001)
    density = sp.norm(mean, std).pdf(u)
    exact = -np.trapezoid(density * exact_tanh_log_prob(u, mean, std), u)
    entropy = TanhGaussian(array([mean]), jnp.log(array(std))).entropy()
    assert float(entropy[0]) == pytest.approx(exact, abs=1e-4)


def test_tanh_mode_is_the_median():
    dist = TanhGaussian(jnp.full((20_001, 1), 0.4), array(0.5))
    assert float(dist.mode()[0, 0]) == pytest.approx(np.tanh(0.4))
    assert np.median(dist.sample(KEY)) == pytest.approx(np.tanh(0.4), abs=0.02)


def test_check_mask():
    check_mask(MASK)
    check_mask(np.array([True, False]))
    bad = np.ones((4, 3), bool)
    bad[2] = bad[3] = False
    with pytest.raises(FathomError, match=r"no legal action in environment 2 \(and 1 more\)"):
        check_mask(bad)
    with pytest.raises(FathomError, match=r"environment 2 at \(1,\) of the leading axes"):
        check_mask(np.stack([np.ones((4, 3), bool), bad]))
    with pytest.raises(FathomError, match=r"in the environment\."):
        check_mask(np.array([False, False]))
    with pytest.raises(FathomError, match="float32"):
        check_mask(np.ones((2, 3), np.float32))


def test_check_mask_of_several_components():
    mask = np.array([[True, False, True], [True, True, False]])
    check_mask(mask)
    with pytest.raises(FathomError, match="no legal value of action component 1 in environment 1"):
        check_mask(mask, (2, 1))
    with pytest.raises(FathomError, match=r"3 entries for nvec \(2, 2\); give 4"):
        check_mask(mask, (2, 2))
