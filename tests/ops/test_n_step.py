import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.ops import n_step

CELLS, GAMMA, ALPHA = 4, 0.8, 0.3
learn = jax.jit(n_step.learn)


def by_the_book(episodes, n):
    """Sutton & Barto 2018, Section 7.1, written out; a cut episode goes on with V of where it stopped."""
    v = np.zeros(CELLS)
    for states, rewards, terminated in episodes:
        end = len(rewards)
        for tau in range(end):
            upto = min(tau + n, end)
            g = sum(GAMMA ** (i - tau) * rewards[i] for i in range(tau, upto))
            if not (terminated and upto == end):
                g += GAMMA ** (upto - tau) * v[states[upto]]
            v[states[tau]] += ALPHA * (g - v[states[tau]])
    return v


def episodes_of(rng, count):
    out = []
    for _ in range(count):
        length = int(rng.integers(1, 9))
        out.append((rng.integers(0, CELLS, length + 1), rng.normal(size=length), bool(rng.integers(2))))
    return out


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_values_are_those_of_the_pseudocode(n):
    episodes = episodes_of(np.random.default_rng(n), 12)
    weights, total, changes = jnp.zeros(CELLS), 0.0, 0
    for states, rewards, terminated in episodes:
        window = n_step.empty(1, n)
        for t, reward in enumerate(rewards):
            last = t == len(rewards) - 1
            window = n_step.push(
                window, jnp.array([[states[t]]], jnp.int32), jnp.array([reward], jnp.float32)
            )
            discount = 0.0 if last and terminated else GAMMA
            weights, error, count = learn(
                weights,
                window,
                jnp.array([[states[t + 1]]], jnp.int32),
                jnp.array([discount], jnp.float32),
                jnp.array([last]),
                jnp.float32(GAMMA),
                jnp.float32(ALPHA),
            )
            total, changes = total + float(error), changes + int(count)
    np.testing.assert_allclose(weights, by_the_book(episodes, n), rtol=1e-5, atol=1e-6)
    assert changes == sum(len(rewards) for _, rewards, _ in episodes)
    assert total > 0


def test_environments_that_change_one_weight_share_it_and_tiles_share_an_error():
    window = n_step.push(
        n_step.empty(2, 1, 2), jnp.array([[0, 1], [1, 2]], jnp.int32), jnp.array([1.0, 2.0], jnp.float32)
    )
    w, total, changes = learn(
        jnp.array([1.0, 2.0, 3.0, 4.0]),
        window,
        jnp.array([[2, 3], [0, 3]], jnp.int32),
        jnp.array([0.5, 0.0], jnp.float32),
        jnp.array([False, True]),
        jnp.float32(0.5),
        jnp.float32(0.1),
    )
    errors = 1.0 + 0.5 * 7.0 - 3.0, 2.0 - 5.0
    expected = [1 + 0.1 * errors[0], 2 + 0.1 * sum(errors) / 2, 3 + 0.1 * errors[1], 4.0]
    np.testing.assert_allclose(w, expected, rtol=1e-6)
    assert (float(total), int(changes)) == (pytest.approx(4.5), 2)
