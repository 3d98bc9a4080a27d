"""The rules of bandits against numbers worked by hand and plain loops, with and without jit and vmap."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.ops import bandits

F = jnp.float32


def i32(x):
    return jnp.asarray(x, jnp.int32)


def test_taken_is_true_at_the_action_alone():
    np.testing.assert_array_equal(bandits.taken(i32([2, 0]), 3), [[False, False, True], [True, False, False]])


def test_one_reward_more_in_the_mean():
    """Rewards 4, then 1: Q = 4, then 4 + (1 − 4)/2 = 2.5; the other action stays."""
    value, count = jnp.asarray([9.0, 0.0], F), jnp.asarray([3.0, 0.0], F)
    value, count = bandits.sample_average(value, count, i32(1), jnp.asarray(4.0, F))
    np.testing.assert_array_equal(value, [9.0, 4.0])
    value, count = bandits.sample_average(value, count, i32(1), jnp.asarray(1.0, F))
    np.testing.assert_array_equal(value, [9.0, 2.5])
    np.testing.assert_array_equal(count, [3.0, 2.0])


def test_an_initial_value_without_count_is_forgotten_and_one_with_count_weighs():
    optimistic, _ = bandits.sample_average(
        jnp.asarray([5.0], F), jnp.asarray([0.0], F), i32(0), jnp.asarray(1.0, F)
    )
    np.testing.assert_array_equal(optimistic, [1.0])
    # Beta(2, 2): mean 1/2 worth 4 rewards; after a success Beta(3, 2), of mean 3/5.
    mean, count = bandits.sample_average(
        jnp.asarray([0.5], F), jnp.asarray([4.0], F), i32(0), jnp.asarray(1.0, F)
    )
    np.testing.assert_allclose(mean * count, [3.0], rtol=1e-6)
    np.testing.assert_allclose((1.0 - mean) * count, [2.0], rtol=1e-6)


def test_the_gaussian_posterior_is_that_of_bayes():
    """Prior N(1, σ²/2), σ = 3, rewards 5 and −1: precision 2/9 + 2/9, mean (1·2 + 5 − 1)/4."""
    mean, count = jnp.asarray([1.0], F), jnp.asarray([2.0], F)
    for reward in (5.0, -1.0):
        mean, count = bandits.sample_average(mean, count, i32(0), jnp.asarray(reward, F))
    np.testing.assert_allclose(mean, [1.5], rtol=1e-6)
    prior_precision, precision = 2 / 9, 1 / 9
    np.testing.assert_allclose(9.0 / count, [1 / (prior_precision + 2 * precision)], rtol=1e-6)


def test_a_constant_step():
    value = bandits.constant_step(jnp.asarray([5.0, 1.0], F), i32(0), jnp.asarray(0.0, F), 0.1)
    np.testing.assert_allclose(value, [4.5, 1.0], rtol=1e-6)


def test_ucb_by_hand():
    """t = 3 + 1 + 1 = 5, c = 2: 0.5 + 2 √(ln 5 / 3), 0.9 + 2 √(ln 5); never taken: ∞."""
    score = bandits.ucb_score(jnp.asarray([0.5, 0.9, 0.0], F), jnp.asarray([3.0, 1.0, 0.0], F), 2.0)
    np.testing.assert_allclose(
        score[:2], [0.5 + 2 * math.sqrt(math.log(5) / 3), 0.9 + 2 * math.sqrt(math.log(5))], rtol=1e-6
    )
    assert score[2] == jnp.inf


def test_a_gradient_step_by_hand():
    """π = (1/4, 3/4), α (R − R̄) = 0.1·2: the action taken up by 0.2·3/4, the other down by as much."""
    before = jnp.log(jnp.asarray([1.0, 3.0], F))
    after = bandits.gradient_preference(before, i32(0), jnp.asarray(3.0, F), jnp.asarray(1.0, F), 0.1)
    np.testing.assert_allclose(after - before, [0.15, -0.15], rtol=1e-5)


def test_the_gradient_step_goes_up_the_gradient():
    """Averaged over actions it is α ∂E[R]/∂H, whatever the baseline. Sutton & Barto 2018, Section 2.8."""
    preference, q = jnp.asarray([0.3, -0.2, 0.9], F), jnp.asarray([1.0, 2.0, -1.0], F)
    policy = jax.nn.softmax(preference)
    gradient = jax.grad(lambda h: (jax.nn.softmax(h) * q).sum())(preference)
    for baseline in (0.0, 4.0):
        steps = [
            bandits.gradient_preference(preference, i32(a), q[a], jnp.asarray(baseline, F), 0.5) - preference
            for a in range(3)
        ]
        mean = sum(p * s for p, s in zip(policy, steps, strict=True))
        np.testing.assert_allclose(mean, 0.5 * gradient, atol=1e-6)


def plain(actions, rewards, k):
    """All rules by loops over Python numbers: means, counts, constant steps, preferences."""
    q, n, fading, h = [0.0] * k, [0] * k, [1.0] * k, [0.0] * k
    mean = 0.0
    for t, (a, r) in enumerate(zip(actions, rewards, strict=True)):
        n[a] += 1
        q[a] += (r - q[a]) / n[a]
        fading[a] += 0.1 * (r - fading[a])
        total = sum(math.exp(x) for x in h)
        policy = [math.exp(x) / total for x in h]
        for i in range(k):
            h[i] += 0.1 * (r - mean) * ((i == a) - policy[i])
        mean += (r - mean) / (t + 1)
    return q, n, fading, h


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_against_plain_loops_over_a_batch(wrap):
    rng = np.random.default_rng(0)
    actions, rewards = rng.integers(4, size=(30, 2)), rng.normal(size=(30, 2))

    def step(state, a, r):
        q, n, fading, h, mean, t = state
        q, n = bandits.sample_average(q, n, a, r)
        h = bandits.gradient_preference(h, a, r, mean, 0.1)
        return q, n, bandits.constant_step(fading, a, r, 0.1), h, mean + (r - mean) / (t + 1.0), t + 1.0

    zeros = jnp.zeros((2, 4), F)
    state = (zeros, zeros, jnp.ones((2, 4), F), zeros, jnp.zeros(2, F), jnp.zeros((), F))
    both, alone = (
        wrap(step),
        wrap(jax.vmap(step, in_axes=((0, 0, 0, 0, 0, None), 0, 0), out_axes=(0, 0, 0, 0, 0, None))),
    )
    mapped = state
    for a, r in zip(actions, rewards, strict=True):
        state = both(state, jnp.asarray(a, jnp.int32), jnp.asarray(r, F))
        mapped = alone(mapped, jnp.asarray(a, jnp.int32), jnp.asarray(r, F))
    for i in range(2):
        for expected, got, also in zip(plain(actions[:, i], rewards[:, i], 4), state, mapped, strict=False):
            np.testing.assert_allclose(got[i], expected, rtol=2e-5, atol=1e-6)
            np.testing.assert_allclose(also[i], expected, rtol=2e-5, atol=1e-6)
